import{St as e,l as t,m as n,o as r,pt as i,r as a,st as o,v as s,vt as c}from"./basics-DhKRAC_a.js";var l=/(`[^`\n]+`)|\*\*([^*\n]+)\*\*|(?<![\w*])\*([^*\n]+)\*(?!\w)|\[([^\]\n]+)\]\((https?:\/\/[^\s)]+)\)|(https?:\/\/[^\s<>)\]]+)/;function u(e){let t=[],n=e;for(let e=l.exec(n);e;e=l.exec(n)){t.push(n.slice(0,e.index));let[r,i,a,o,c,l,d]=e;i?t.push(s(`code`,{children:i.slice(1,-1)})):a?t.push(s(`strong`,{children:u(a)})):o?t.push(s(`em`,{children:u(o)})):t.push(s(`a`,{href:l??d,target:`_blank`,rel:`noopener noreferrer nofollow ugc`,children:c??d})),n=n.slice(e.index+r.length)}return t.push(n),t}function d({text:e}){let t=e.split(`
`),n=[],r=0,i=e=>{let n=[];for(;r<t.length&&!e(t[r]);)n.push(t[r++]);return n};for(;r<t.length;){let e=t[r],a=/^(```|~~~)/.exec(e),o=/^(#{1,6})\s+(.*)$/.exec(e),c=/^\s*([-*+]|\d{1,3}[.)])\s+/;if(a){r++;let e=i(e=>e.startsWith(a[1]));r++,n.push(s(`pre`,{tabIndex:0,children:s(`code`,{children:e.join(`
`)})}))}else if(o)r++,n.push(o[1].length<3?s(`h3`,{children:u(o[2])}):s(`h4`,{children:u(o[2])}));else if(e.startsWith(`>`)){let e=i(e=>!e.startsWith(`>`)).map(e=>e.replace(/^>\s?/,``));n.push(s(`blockquote`,{children:u(e.join(` `))}))}else if(c.test(e)){let t=/^\s*\d/.test(e),r=i(e=>!c.test(e)&&!/^\s{2,}\S/.test(e)).reduce((e,t)=>(c.test(t)?e.push(t.replace(c,``)):e[e.length-1]+=` ${t.trim()}`,e),[]).map(e=>s(`li`,{children:u(e)}));n.push(s(t?`ol`:`ul`,{children:r}))}else if(!e.trim())r++;else{let e=i(e=>!e.trim()||/^(```|~~~|#{1,6}\s|>)/.test(e));n.push(s(`p`,{children:u(e.join(` `))}))}}return s(`div`,{class:`markdown`,children:n})}var f={curl:m,python:h,javascript:g};function p({did:t}){let a=o(`curl`);return s(e,{children:[s(n,{label:c.share.language,tabs:[[`curl`,`curl`],[`python`,`Python`],[`javascript`,`JavaScript`]],value:a.value,onPick:e=>a.value=e}),s(r,{text:f[a.value](`${i().origin}/v1`,t),label:c.share.call})]})}function m(e,t){return`curl ${e}/responses \\
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
console.log(answer.output_text)`}var _=e=>`${i().origin}/a/${e}`;function v({did:n}){let i=_(n),o=`<iframe src="${i}/embed" title="Buy access" width="360" height="260" style="border:0"></iframe>`;return s(e,{children:[s(a,{title:c.share.title,children:[s(t,{rows:[[c.share.did,s(`span`,{class:`mono wrap`,children:n})],[c.share.link,s(`a`,{href:i,class:`wrap`,children:i})]]}),s(`h3`,{children:c.share.embed}),s(r,{text:o,label:c.share.embed}),s(`h3`,{children:c.share.badge}),s(r,{text:`[![assistant](${i}/badge.svg)](${i})`,label:c.share.badge})]}),s(a,{title:c.share.call,children:s(p,{did:n})})]})}export{p as n,d as r,v as t};