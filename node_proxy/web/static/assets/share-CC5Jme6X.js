import{ht as e,kt as t,l as n,m as r,o as i,r as a,x as o,xt as s}from"./basics-DH3Rs471.js";import{t as c}from"./strings-CbP_3anb.js";var l=/(`[^`\n]+`)|\*\*([^*\n]+)\*\*|(?<![\w*])\*([^*\n]+)\*(?!\w)|\[([^[\]\n]{1,300})\]\((https?:\/\/[^\s)]{1,2000})\)|(https?:\/\/[^\s<>)\]]+)/;function u(e){let t=[],n=e;for(let e=l.exec(n);e;e=l.exec(n)){t.push(n.slice(0,e.index));let[r,i,a,s,c,l,d]=e;i?t.push(o(`code`,{children:i.slice(1,-1)})):a?t.push(o(`strong`,{children:u(a)})):s?t.push(o(`em`,{children:u(s)})):t.push(o(`a`,{href:l??d,target:`_blank`,rel:`noopener noreferrer nofollow ugc`,children:c??d})),n=n.slice(e.index+r.length)}return t.push(n),t}function d({text:e}){let t=e.split(`
`),n=[],r=0,i=e=>{let n=[];for(;r<t.length&&!e(t[r]);)n.push(t[r++]);return n};for(;r<t.length;){let e=t[r],a=/^(```|~~~)/.exec(e),s=/^(#{1,6})\s+([^\n]*)$/.exec(e),c=/^\s*([-*+]|\d{1,3}[.)])\s+/;if(a){r++;let e=i(e=>e.startsWith(a[1]));r++,n.push(o(`pre`,{tabIndex:0,children:o(`code`,{children:e.join(`
`)})}))}else if(s)r++,n.push(s[1].length<3?o(`h3`,{children:u(s[2])}):o(`h4`,{children:u(s[2])}));else if(e.startsWith(`>`)){let e=i(e=>!e.startsWith(`>`)).map(e=>e.replace(/^>\s?/,``));n.push(o(`blockquote`,{children:u(e.join(` `))}))}else if(c.test(e)){let t=/^\s*\d/.test(e),r=i(e=>!c.test(e)&&!/^\s{2,}\S/.test(e)).reduce((e,t)=>(c.test(t)?e.push(t.replace(c,``)):e[e.length-1]+=` ${t.trim()}`,e),[]).map(e=>o(`li`,{children:u(e)}));n.push(o(t?`ol`:`ul`,{children:r}))}else if(!e.trim())r++;else{r++;let t=[e,...i(e=>!e.trim()||/^(```|~~~|#{1,6}\s|>)/.test(e))];n.push(o(`p`,{children:u(t.join(` `))}))}}return o(`div`,{class:`markdown`,children:n})}var f={curl:m,python:h,javascript:g};function p({did:n}){let a=s(`curl`);return o(t,{children:[o(r,{label:c.share.language,tabs:[[`curl`,`curl`],[`python`,`Python`],[`javascript`,`JavaScript`]],value:a.value,onPick:e=>a.value=e}),o(i,{text:f[a.value](`${e().origin}/v1`,n),label:c.share.call})]})}function m(e,t){return`curl ${e}/responses \\
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
console.log(answer.output_text)`}var _=t=>`${e().origin}/a/${t}`;function v({did:e}){let r=_(e),s=`<iframe src="${r}/embed" title="${c.share.frame}" width="360" height="260" style="border:0"></iframe>`;return o(t,{children:[o(a,{title:c.share.title,children:[o(n,{rows:[[c.share.did,o(`span`,{class:`mono wrap`,children:e})],[c.share.link,o(`a`,{href:r,class:`wrap`,children:r})]]}),o(`h3`,{children:c.share.embed}),o(i,{text:s,label:c.share.embed}),o(`h3`,{children:c.share.badge}),o(i,{text:`[![assistant](${r}/badge.svg)](${r})`,label:c.share.badge})]}),o(a,{title:c.share.call,children:o(p,{did:e})})]})}export{p as n,d as r,v as t};