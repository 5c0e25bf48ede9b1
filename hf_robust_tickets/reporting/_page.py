"""The look of a summary page: one style sheet and the frame around the sections. No script, no external resource."""

from __future__ import annotations

STYLE = """
:root {
  color-scheme: light dark;
  --ink: #17212e; --soft: #566172; --faint: #8b95a3; --line: #dfe4ea; --wash: #f4f6f9; --paper: #ffffff;
  --accent: #1f5fa8; --warm: #b75d0d; --warm-wash: #fdf4e9; --accent-wash: #eef4fb;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #e8ecf1; --soft: #a7b1be; --faint: #78838f; --line: #2b3541; --wash: #1a222c; --paper: #10161d;
    --accent: #7db3ee; --warm: #f0a95c; --warm-wash: #2a2117; --accent-wash: #16222f;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "DejaVu Sans", sans-serif;
  -webkit-text-size-adjust: 100%;
}
header, main, footer { max-width: 58rem; margin: 0 auto; padding: 0 1.5rem; }
header { padding-top: clamp(2rem, 6vw, 4.5rem); }
h1 { font-size: clamp(1.8rem, 4.5vw, 2.7rem); line-height: 1.15; letter-spacing: -0.022em; margin: 0 0 0.8rem; }
.lead { font-size: 1.18rem; color: var(--soft); max-width: 44rem; margin: 0; }
nav { margin-top: 1.8rem; padding: 0.7rem 0; border-block: 1px solid var(--line); font-size: 0.92rem; }
nav ol { display: flex; flex-wrap: wrap; gap: 0.3rem 1.5rem; list-style: none; margin: 0; padding: 0; }
a { color: var(--accent); text-decoration: none; }
a:hover, a:focus-visible { text-decoration: underline; text-underline-offset: 0.2em; }
section { margin-top: 3rem; scroll-margin-top: 1.5rem; }
h2 { font-size: 1.4rem; line-height: 1.3; letter-spacing: -0.012em; margin: 0 0 1rem; }
p { margin: 0 0 1rem; max-width: 44rem; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: 1px; margin: 0 0 1.6rem;
  background: var(--line); border: 1px solid var(--line); border-radius: 10px; overflow: hidden; }
.facts div { display: flex; flex-direction: column-reverse; justify-content: flex-end; background: var(--paper);
  padding: 1rem 1.2rem; }
.facts dt { font-size: 0.86rem; line-height: 1.4; color: var(--soft); }
.facts dd { font-size: 1.5rem; font-weight: 650; line-height: 1.3; letter-spacing: -0.015em; margin: 0;
  font-variant-numeric: tabular-nums; }
.table { overflow-x: auto; margin: 0 0 1.6rem; }
table { border-collapse: collapse; min-width: 60%; font-size: 0.94rem; font-variant-numeric: tabular-nums; }
caption, figcaption { text-align: left; color: var(--soft); font-size: 0.9rem; line-height: 1.5; }
caption { padding-bottom: 0.6rem; }
th, td { text-align: left; padding: 0.5rem 1.4rem 0.5rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; }
th:last-child, td:last-child { padding-right: 0.4rem; }
thead th { font-weight: 600; font-size: 0.86rem; color: var(--soft); border-bottom: 2px solid var(--line);
  white-space: nowrap; }
tbody tr:hover { background: var(--wash); }
td:not(.number) { min-width: 6.5rem; }
.number { text-align: right; white-space: nowrap; }
mark { background: var(--warm-wash); color: var(--warm); border-radius: 3px; padding: 0 0.15em; font-weight: 600; }
figure { margin: 0 0 1.8rem; }
figure img { display: block; max-width: 100%; height: auto; background: #fff; border: 1px solid var(--line);
  border-radius: 10px; }
.curves svg { display: block; width: 100%; max-width: 44rem; height: auto; }
.curves text { fill: var(--soft); } .curves .role-axis-title text { fill: var(--ink); }
.curves .role-axis-grid line { stroke: var(--line); }
.curves .role-mark path:hover { opacity: 1; stroke: var(--ink); stroke-width: 2.5px; }
figcaption { margin-top: 0.7rem; max-width: 44rem; }
.note { border-left: 3px solid var(--accent); background: var(--accent-wash); padding: 0.8rem 1.1rem;
  border-radius: 0 8px 8px 0; max-width: 46rem; margin: 0 0 1.6rem; }
.note.warning { border-color: var(--warm); background: var(--warm-wash); }
.note.warning strong { color: var(--warm); }
pre { background: var(--wash); border: 1px solid var(--line); border-radius: 8px; padding: 0.9rem 1.1rem;
  overflow-x: auto; font: 0.87rem/1.55 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  margin: 0 0 1.6rem; }
footer { margin-top: 4rem; padding-block: 1.4rem 2.5rem; color: var(--faint); font-size: 0.85rem; }
footer p { border-top: 1px solid var(--line); padding-top: 1.2rem; max-width: none; margin: 0; }
@media print { body { font-size: 11pt; } nav { display: none; } section, figure, tr { break-inside: avoid; } }
""".strip()

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
{style}
</style>
</head>
<body>
<header>
<h1>{title}</h1>
<p class="lead">{lead}</p>
{contents}
</header>
<main>
{sections}
</main>
<footer>
<p>{footer}</p>
</footer>
</body>
</html>
"""
