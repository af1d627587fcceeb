import{Ot as e,b as t,bt as n,l as r,m as i,mt as a,o,r as s}from"./basics-D9xqxox6.js";import{t as c}from"./strings-vIKCVx14.js";var l=/(`[^`\n]+`)|\*\*([^*\n]+)\*\*|(?<![\w*])\*([^*\n]+)\*(?!\w)|\[([^[\]\n]{1,300})\]\((https?:\/\/[^\s)]{1,2000})\)|(https?:\/\/[^\s<>)\]]+)/;function u(e){let n=[],r=e;for(let e=l.exec(r);e;e=l.exec(r)){n.push(r.slice(0,e.index));let[i,a,o,s,c,l,d]=e;a?n.push(t(`code`,{children:a.slice(1,-1)})):o?n.push(t(`strong`,{children:u(o)})):s?n.push(t(`em`,{children:u(s)})):n.push(t(`a`,{href:l??d,target:`_blank`,rel:`noopener noreferrer nofollow ugc`,children:c??d})),r=r.slice(e.index+i.length)}return n.push(r),n}function d({text:e}){let n=e.split(`
`),r=[],i=0,a=e=>{let t=[];for(;i<n.length&&!e(n[i]);)t.push(n[i++]);return t};for(;i<n.length;){let e=n[i],o=/^(```|~~~)/.exec(e),s=/^(#{1,6})\s+([^\n]*)$/.exec(e),c=/^\s*([-*+]|\d{1,3}[.)])\s+/;if(o){i++;let e=a(e=>e.startsWith(o[1]));i++,r.push(t(`pre`,{tabIndex:0,children:t(`code`,{children:e.join(`
`)})}))}else if(s)i++,r.push(s[1].length<3?t(`h3`,{children:u(s[2])}):t(`h4`,{children:u(s[2])}));else if(e.startsWith(`>`)){let e=a(e=>!e.startsWith(`>`)).map(e=>e.replace(/^>\s?/,``));r.push(t(`blockquote`,{children:u(e.join(` `))}))}else if(c.test(e)){let n=/^\s*\d/.test(e),i=a(e=>!c.test(e)&&!/^\s{2,}\S/.test(e)).reduce((e,t)=>(c.test(t)?e.push(t.replace(c,``)):e[e.length-1]+=` ${t.trim()}`,e),[]).map(e=>t(`li`,{children:u(e)}));r.push(t(n?`ol`:`ul`,{children:i}))}else if(!e.trim())i++;else{i++;let n=[e,...a(e=>!e.trim()||/^(```|~~~|#{1,6}\s|>)/.test(e))];r.push(t(`p`,{children:u(n.join(` `))}))}}return t(`div`,{class:`markdown`,children:r})}var f={curl:m,python:h,javascript:g};function p({did:r}){let s=n(`curl`);return t(e,{children:[t(i,{label:c.share.language,tabs:[[`curl`,`curl`],[`python`,`Python`],[`javascript`,`JavaScript`]],value:s.value,onPick:e=>s.value=e}),t(o,{text:f[s.value](`${a().origin}/v1`,r),label:c.share.call})]})}function m(e,t){return`curl ${e}/responses \\
  -H "authorization: Bearer $NVM_KEY" \\
  -H "content-type: application/json" \\
  -d '{"model": "${t}", "input": "hello"}'`}function h(e,t){return`import os
from openai import OpenAI

client = OpenAI(base_url="${e}", api_key=os.environ["NVM_KEY"])
answer = client.responses.create(
    model="${t}",
    input="hello",
)
print(answer.output_text)`}function g(e,t){return`import OpenAI from 'openai'

const client = new OpenAI({ baseURL: '${e}', apiKey: process.env.NVM_KEY })
const answer = await client.responses.create({
  model: '${t}',
  input: 'hello',
})
console.log(answer.output_text)`}var _=e=>`${a().origin}/a/${e}`;function v({did:n}){let i=_(n),a=`<iframe src="${i}/embed" title="${c.share.frame}" width="360" height="260" style="border:0"></iframe>`;return t(e,{children:[t(s,{title:c.share.title,children:[t(r,{rows:[[c.share.did,t(`span`,{class:`mono wrap`,children:n})],[c.share.link,t(`a`,{href:i,class:`wrap`,children:i})]]}),t(`h3`,{children:c.share.embed}),t(o,{text:a,label:c.share.embed}),t(`h3`,{children:c.share.badge}),t(o,{text:`[![assistant](${i}/badge.svg)](${i})`,label:c.share.badge})]}),t(s,{title:c.share.call,children:t(p,{did:n})})]})}export{p as n,d as r,v as t};