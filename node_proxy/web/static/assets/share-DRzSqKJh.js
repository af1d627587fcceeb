import{At as e,St as t,gt as n,l as r,m as i,o as a,r as o,x as s}from"./basics-BAlDPURs.js";import{t as c}from"./strings-CbP_3anb.js";var l=/(`[^`\n]+`)|\*\*([^*\n]+)\*\*|(?<![\w*])\*([^*\n]+)\*(?!\w)|\[([^[\]\n]{1,300})\]\((https?:\/\/[^\s)]{1,2000})\)|(https?:\/\/[^\s<>)\]]+)/;function u(e){let t=[],n=e;for(let e=l.exec(n);e;e=l.exec(n)){t.push(n.slice(0,e.index));let[r,i,a,o,c,l,d]=e;i?t.push(s(`code`,{children:i.slice(1,-1)})):a?t.push(s(`strong`,{children:u(a)})):o?t.push(s(`em`,{children:u(o)})):t.push(s(`a`,{href:l??d,target:`_blank`,rel:`noopener noreferrer nofollow ugc`,children:c??d})),n=n.slice(e.index+r.length)}return t.push(n),t}function d({text:e}){let t=e.split(`
`),n=[],r=0,i=e=>{let n=[];for(;r<t.length&&!e(t[r]);)n.push(t[r++]);return n};for(;r<t.length;){let e=t[r],a=/^(```|~~~)/.exec(e),o=/^(#{1,6})\s+([^\n]*)$/.exec(e),c=/^\s*([-*+]|\d{1,3}[.)])\s+/;if(a){r++;let e=i(e=>e.startsWith(a[1]));r++,n.push(s(`pre`,{tabIndex:0,children:s(`code`,{children:e.join(`
`)})}))}else if(o)r++,n.push(o[1].length<3?s(`h3`,{children:u(o[2])}):s(`h4`,{children:u(o[2])}));else if(e.startsWith(`>`)){let e=i(e=>!e.startsWith(`>`)).map(e=>e.replace(/^>\s?/,``));n.push(s(`blockquote`,{children:u(e.join(` `))}))}else if(c.test(e)){let t=/^\s*\d/.test(e),r=i(e=>!c.test(e)&&!/^\s{2,}\S/.test(e)).reduce((e,t)=>(c.test(t)?e.push(t.replace(c,``)):e[e.length-1]+=` ${t.trim()}`,e),[]).map(e=>s(`li`,{children:u(e)}));n.push(s(t?`ol`:`ul`,{children:r}))}else if(!e.trim())r++;else{r++;let t=[e,...i(e=>!e.trim()||/^(```|~~~|#{1,6}\s|>)/.test(e))];n.push(s(`p`,{children:u(t.join(` `))}))}}return s(`div`,{class:`markdown`,children:n})}var f={curl:m,python:h,javascript:g};function p({did:r}){let o=t(`curl`);return s(e,{children:[s(i,{label:c.share.language,tabs:[[`curl`,`curl`],[`python`,`Python`],[`javascript`,`JavaScript`]],value:o.value,onPick:e=>o.value=e}),s(a,{text:f[o.value](`${n().origin}/v1`,r),label:c.share.call})]})}function m(e,t){return`curl ${e}/responses \\
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
console.log(answer.output_text)`}var _=e=>`${n().origin}/a/${e}`;function v({did:t}){let n=_(t),i=`<iframe src="${n}/embed" title="${c.share.frame}" width="360" height="260" style="border:0"></iframe>`;return s(e,{children:[s(o,{title:c.share.title,children:[s(r,{rows:[[c.share.did,s(`span`,{class:`mono wrap`,children:t})],[c.share.link,s(`a`,{href:n,class:`wrap`,children:n})]]}),s(`h3`,{children:c.share.embed}),s(a,{text:i,label:c.share.embed}),s(`h3`,{children:c.share.badge}),s(a,{text:`[![assistant](${n}/badge.svg)](${n})`,label:c.share.badge})]}),s(o,{title:c.share.call,children:s(p,{did:t})})]})}export{p as n,d as r,v as t};