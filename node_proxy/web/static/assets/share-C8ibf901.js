import{Ot as e,bt as t,l as n,m as r,o as i,pt as a,r as o,vt as s,y as c}from"./basics-ls-QZe2O.js";var l=/(`[^`\n]+`)|\*\*([^*\n]+)\*\*|(?<![\w*])\*([^*\n]+)\*(?!\w)|\[([^[\]\n]{1,300})\]\((https?:\/\/[^\s)]{1,2000})\)|(https?:\/\/[^\s<>)\]]+)/;function u(e){let t=[],n=e;for(let e=l.exec(n);e;e=l.exec(n)){t.push(n.slice(0,e.index));let[r,i,a,o,s,l,d]=e;i?t.push(c(`code`,{children:i.slice(1,-1)})):a?t.push(c(`strong`,{children:u(a)})):o?t.push(c(`em`,{children:u(o)})):t.push(c(`a`,{href:l??d,target:`_blank`,rel:`noopener noreferrer nofollow ugc`,children:s??d})),n=n.slice(e.index+r.length)}return t.push(n),t}function d({text:e}){let t=e.split(`
`),n=[],r=0,i=e=>{let n=[];for(;r<t.length&&!e(t[r]);)n.push(t[r++]);return n};for(;r<t.length;){let e=t[r],a=/^(```|~~~)/.exec(e),o=/^(#{1,6})\s+([^\n]*)$/.exec(e),s=/^\s*([-*+]|\d{1,3}[.)])\s+/;if(a){r++;let e=i(e=>e.startsWith(a[1]));r++,n.push(c(`pre`,{tabIndex:0,children:c(`code`,{children:e.join(`
`)})}))}else if(o)r++,n.push(o[1].length<3?c(`h3`,{children:u(o[2])}):c(`h4`,{children:u(o[2])}));else if(e.startsWith(`>`)){let e=i(e=>!e.startsWith(`>`)).map(e=>e.replace(/^>\s?/,``));n.push(c(`blockquote`,{children:u(e.join(` `))}))}else if(s.test(e)){let t=/^\s*\d/.test(e),r=i(e=>!s.test(e)&&!/^\s{2,}\S/.test(e)).reduce((e,t)=>(s.test(t)?e.push(t.replace(s,``)):e[e.length-1]+=` ${t.trim()}`,e),[]).map(e=>c(`li`,{children:u(e)}));n.push(c(t?`ol`:`ul`,{children:r}))}else if(!e.trim())r++;else{r++;let t=[e,...i(e=>!e.trim()||/^(```|~~~|#{1,6}\s|>)/.test(e))];n.push(c(`p`,{children:u(t.join(` `))}))}}return c(`div`,{class:`markdown`,children:n})}var f={curl:m,python:h,javascript:g};function p({did:n}){let o=t(`curl`);return c(e,{children:[c(r,{label:s.share.language,tabs:[[`curl`,`curl`],[`python`,`Python`],[`javascript`,`JavaScript`]],value:o.value,onPick:e=>o.value=e}),c(i,{text:f[o.value](`${a().origin}/v1`,n),label:s.share.call})]})}function m(e,t){return`curl ${e}/responses \\
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
console.log(answer.output_text)`}var _=e=>`${a().origin}/a/${e}`;function v({did:t}){let r=_(t),a=`<iframe src="${r}/embed" title="${s.share.frame}" width="360" height="260" style="border:0"></iframe>`;return c(e,{children:[c(o,{title:s.share.title,children:[c(n,{rows:[[s.share.did,c(`span`,{class:`mono wrap`,children:t})],[s.share.link,c(`a`,{href:r,class:`wrap`,children:r})]]}),c(`h3`,{children:s.share.embed}),c(i,{text:a,label:s.share.embed}),c(`h3`,{children:s.share.badge}),c(i,{text:`[![assistant](${r}/badge.svg)](${r})`,label:s.share.badge})]}),c(o,{title:s.share.call,children:c(p,{did:t})})]})}export{p as n,d as r,v as t};