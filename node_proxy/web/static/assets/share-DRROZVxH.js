import{b as e,kt as t,l as n,m as r,mt as i,o as a,r as o,xt as s,yt as c}from"./basics-CqyzdbPM.js";var l=/(`[^`\n]+`)|\*\*([^*\n]+)\*\*|(?<![\w*])\*([^*\n]+)\*(?!\w)|\[([^[\]\n]{1,300})\]\((https?:\/\/[^\s)]{1,2000})\)|(https?:\/\/[^\s<>)\]]+)/;function u(t){let n=[],r=t;for(let t=l.exec(r);t;t=l.exec(r)){n.push(r.slice(0,t.index));let[i,a,o,s,c,l,d]=t;a?n.push(e(`code`,{children:a.slice(1,-1)})):o?n.push(e(`strong`,{children:u(o)})):s?n.push(e(`em`,{children:u(s)})):n.push(e(`a`,{href:l??d,target:`_blank`,rel:`noopener noreferrer nofollow ugc`,children:c??d})),r=r.slice(t.index+i.length)}return n.push(r),n}function d({text:t}){let n=t.split(`
`),r=[],i=0,a=e=>{let t=[];for(;i<n.length&&!e(n[i]);)t.push(n[i++]);return t};for(;i<n.length;){let t=n[i],o=/^(```|~~~)/.exec(t),s=/^(#{1,6})\s+([^\n]*)$/.exec(t),c=/^\s*([-*+]|\d{1,3}[.)])\s+/;if(o){i++;let t=a(e=>e.startsWith(o[1]));i++,r.push(e(`pre`,{tabIndex:0,children:e(`code`,{children:t.join(`
`)})}))}else if(s)i++,r.push(s[1].length<3?e(`h3`,{children:u(s[2])}):e(`h4`,{children:u(s[2])}));else if(t.startsWith(`>`)){let t=a(e=>!e.startsWith(`>`)).map(e=>e.replace(/^>\s?/,``));r.push(e(`blockquote`,{children:u(t.join(` `))}))}else if(c.test(t)){let n=/^\s*\d/.test(t),i=a(e=>!c.test(e)&&!/^\s{2,}\S/.test(e)).reduce((e,t)=>(c.test(t)?e.push(t.replace(c,``)):e[e.length-1]+=` ${t.trim()}`,e),[]).map(t=>e(`li`,{children:u(t)}));r.push(e(n?`ol`:`ul`,{children:i}))}else if(!t.trim())i++;else{i++;let n=[t,...a(e=>!e.trim()||/^(```|~~~|#{1,6}\s|>)/.test(e))];r.push(e(`p`,{children:u(n.join(` `))}))}}return e(`div`,{class:`markdown`,children:r})}var f={curl:m,python:h,javascript:g};function p({did:n}){let o=s(`curl`);return e(t,{children:[e(r,{label:c.share.language,tabs:[[`curl`,`curl`],[`python`,`Python`],[`javascript`,`JavaScript`]],value:o.value,onPick:e=>o.value=e}),e(a,{text:f[o.value](`${i().origin}/v1`,n),label:c.share.call})]})}function m(e,t){return`curl ${e}/responses \\
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
console.log(answer.output_text)`}var _=e=>`${i().origin}/a/${e}`;function v({did:r}){let i=_(r),s=`<iframe src="${i}/embed" title="${c.share.frame}" width="360" height="260" style="border:0"></iframe>`;return e(t,{children:[e(o,{title:c.share.title,children:[e(n,{rows:[[c.share.did,e(`span`,{class:`mono wrap`,children:r})],[c.share.link,e(`a`,{href:i,class:`wrap`,children:i})]]}),e(`h3`,{children:c.share.embed}),e(a,{text:s,label:c.share.embed}),e(`h3`,{children:c.share.badge}),e(a,{text:`[![assistant](${i}/badge.svg)](${i})`,label:c.share.badge})]}),e(o,{title:c.share.call,children:e(p,{did:r})})]})}export{p as n,d as r,v as t};