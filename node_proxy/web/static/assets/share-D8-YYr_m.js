import{Ct as e,gt as t,l as n,lt as r,m as i,mt as a,o,r as s,v as c}from"./basics-DjOP2wgM.js";var l=/(`[^`\n]+`)|\*\*([^*\n]+)\*\*|(?<![\w*])\*([^*\n]+)\*(?!\w)|\[([^\]\n]+)\]\((https?:\/\/[^\s)]+)\)|(https?:\/\/[^\s<>)\]]+)/;function u(e){let t=[],n=e;for(let e=l.exec(n);e;e=l.exec(n)){t.push(n.slice(0,e.index));let[r,i,a,o,s,l,d]=e;i?t.push(c(`code`,{children:i.slice(1,-1)})):a?t.push(c(`strong`,{children:u(a)})):o?t.push(c(`em`,{children:u(o)})):t.push(c(`a`,{href:l??d,target:`_blank`,rel:`noopener noreferrer nofollow ugc`,children:s??d})),n=n.slice(e.index+r.length)}return t.push(n),t}function d({text:e}){let t=e.split(`
`),n=[],r=0,i=e=>{let n=[];for(;r<t.length&&!e(t[r]);)n.push(t[r++]);return n};for(;r<t.length;){let e=t[r],a=/^(```|~~~)/.exec(e),o=/^(#{1,6})\s+(.*)$/.exec(e),s=/^\s*([-*+]|\d{1,3}[.)])\s+/;if(a){r++;let e=i(e=>e.startsWith(a[1]));r++,n.push(c(`pre`,{tabIndex:0,children:c(`code`,{children:e.join(`
`)})}))}else if(o)r++,n.push(o[1].length<3?c(`h3`,{children:u(o[2])}):c(`h4`,{children:u(o[2])}));else if(e.startsWith(`>`)){let e=i(e=>!e.startsWith(`>`)).map(e=>e.replace(/^>\s?/,``));n.push(c(`blockquote`,{children:u(e.join(` `))}))}else if(s.test(e)){let t=/^\s*\d/.test(e),r=i(e=>!s.test(e)&&!/^\s{2,}\S/.test(e)).reduce((e,t)=>(s.test(t)?e.push(t.replace(s,``)):e[e.length-1]+=` ${t.trim()}`,e),[]).map(e=>c(`li`,{children:u(e)}));n.push(c(t?`ol`:`ul`,{children:r}))}else if(!e.trim())r++;else{let e=i(e=>!e.trim()||/^(```|~~~|#{1,6}\s|>)/.test(e));n.push(c(`p`,{children:u(e.join(` `))}))}}return c(`div`,{class:`markdown`,children:n})}var f={curl:m,python:h,javascript:g};function p({did:n}){let s=t(`curl`);return c(e,{children:[c(i,{label:a.share.language,tabs:[[`curl`,`curl`],[`python`,`Python`],[`javascript`,`JavaScript`]],value:s.value,onPick:e=>s.value=e}),c(o,{text:f[s.value](`${r().origin}/v1`,n),label:a.share.call})]})}function m(e,t){return`curl ${e}/responses \\
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
console.log(answer.output_text)`}var _=e=>`${r().origin}/a/${e}`;function v({did:t}){let r=_(t),i=`<iframe src="${r}/embed" title="Buy access" width="360" height="260" style="border:0"></iframe>`;return c(e,{children:[c(s,{title:a.share.title,children:[c(n,{rows:[[a.share.did,c(`span`,{class:`mono wrap`,children:t})],[a.share.link,c(`a`,{href:r,class:`wrap`,children:r})]]}),c(`h3`,{children:a.share.embed}),c(o,{text:i,label:a.share.embed}),c(`h3`,{children:a.share.badge}),c(o,{text:`[![assistant](${r}/badge.svg)](${r})`,label:a.share.badge})]}),c(s,{title:a.share.call,children:c(p,{did:t})})]})}export{p as n,d as r,v as t};