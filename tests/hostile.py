"""What a model may write, by mistake or because its input said so."""

from __future__ import annotations

#: Each would do something, or hide something, on a page that shows it carelessly.
HOSTILE_TEXTS = {
    "script": "<script>window.pwned = 1; document.title = 'pwned'</script>",
    "handler": "<img src=x onerror=\"window.pwned=2; alert(1)\"><svg/onload='window.pwned=3'>",
    "end of elements": "</pre></td></details></section></style></title></svg></main><script>window.pwned=4</script>",
    "attribute": "\"' onmouseover='window.pwned=5' style='position:fixed;inset:0' x='",
    "style": "<style>body{display:none}</style><link rel=stylesheet href=http://evil.test/x.css>",
    "rule": "x} body{display:none} @import url(//evil.test/x.css); :root{--page:url(http://evil.test/x.png)",
    "data": "<a href='data:text/html,<script>window.pwned=8</script>'>click</a> data:text/html;base64,PHNjcmlwdD4=",
    "address": "[click](javascript:alert(1)) javascript:alert(1) <a href='javascript:window.pwned=6'>click</a>",
    "frame": "<iframe srcdoc='<script>parent.pwned=7</script>'></iframe><base href=http://evil.test/>",
    "refresh": "<meta http-equiv=refresh content='0;url=http://evil.test/'>",
    "comment": "<!-- --!> <![CDATA[ ]]> --> <?xml ?>",
    "template": "{{ 7 * 7 }}{% for x in ().__class__.__base__.__subclasses__() %}{% endfor %}",
    "direction": "invoice\u202efdp.exe \u2066isolated\u2069 \u200fmark",
    "invisible": "ig\u200bnore\u2060 \ufeff \U000e0041\U000e0042 soft\u00adhyphen",
    "control": "bell\x07 escape\x1b[31mred null\0 delete\x7f next\x85 carriage\rreturn",
    "surrogate": "half \ud83d and \udc00, whole \U0001f600",
    "stacked": "Z" + "\u0334\u0316\u0330" * 400,
    "huge": "A" * 3_000_000,
    "lines": "\n" * 50_000,
    "deep": "[" * 60_000 + "]" * 60_000,
    "entities": "&lt;script&gt; &#60;b&#62; &amp;amp; &quot",
}
