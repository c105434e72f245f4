"""What we render is what Helm renders: the same expressions through the real `helm template`, byte for byte."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from pathlib import Path

import pytest

from fleet.clients.values import format_values, parse_values
from fleet.desired.gotemplate import GoTemplateError, render_text
from fleet.sandbox.toolchain import Toolchain

pytestmark = pytest.mark.oracle

VALUES = {
    "name": "acme",
    "version": "v1.16.2",
    "empty": "",
    "yes": "true",
    "no": "false",
    "on": True,
    "off": False,
    "count": "3",
    "zero": "0",
    "padded": "  padded  ",
    "dashed": "--dashed--",
    "words": "the quick brown fox",
    "csv": "a,b,c",
    "text": "first line\nsecond line\n",
    "quotes": 'it\'s "quoted" \\ back',
    "unicode": "h\u00e9llo \u2603 \U0001f600",
    "html": "<a href='x'>&</a>",
    "norway": "no",
    "octal": "0123",
    "exponent": "1e3",
    "colon": "a: b # c",
    "long": "word " * 40,
    "date": "2024-02-29T13:14:15Z",
    "yaml": "a: 1\nb: [x, y]\nc: {d: true}\ne: 1000000\nf: 1.5\ng: null\n",
    "json": '{"a": 1, "b": ["x", 2.5, null, true], "c": {"d": "<e>"}}',
    "nested": {"key": "value", "deep": {"er": "x", "flag": True}},
    "loft": {"name": "acme", "project": "ai", "virtualClusterName": "acme"},
}

# One per line: each is rendered on its own, by both.
EXPRESSIONS = r"""
{{ .Values.name }}
{{ .Values.name }}-{{ .Values.version }}
{{ .Values.missing }}
[{{ .Values.missing }}]
{{ .Values.missing | default "d" }}
{{ .Values.empty | default "d" }}
{{ .Values.on | default "d" }}
{{ .Values.off | default "d" }}
{{ default "a" (default .Values.missing .Values.empty) }}
{{ .Values.missing | default .Values.nested.missing | default .Values.name | quote }}
{{ .Values.name | default (printf "%s-%s" "x" "y") }}
{{ .Values.on }} {{ .Values.off }}
{{ .Values.nested }}
{{ .Values.nested.deep.er }}
{{ .Values.nested.deep.flag }}
{{ .Values.name | quote }} {{ .Values.on | quote }} {{ .Values.missing | quote }} {{ 1 | quote }}
{{ .Values.quotes | quote }}
{{ .Values.quotes | squote }}
{{ .Values.unicode | quote }}
{{ .Values.text | quote }}
{{ quote .Values.name .Values.missing "b" }}
{{ squote .Values.name .Values.missing "b" }}
{{ .Values.name | upper }} {{ "ABC" | lower }} {{ .Values.words | title }} {{ "ABC" | untitle }}
{{ .Values.unicode | upper }}
{{ .Values.padded | trim }}|{{ .Values.dashed | trimAll "-" }}|{{ .Values.dashed | trimPrefix "--" }}|{{ .Values.dashed | trimSuffix "-" }}
{{ .Values.version | trimPrefix "v" }}
{{ .Values.words | replace " " "_" }}
{{ contains "quick" .Values.words }} {{ hasPrefix "the" .Values.words }} {{ hasSuffix "fox" .Values.words }}
{{ ternary "y" "n" .Values.on }} {{ .Values.off | ternary "y" "n" }}
{{ ternary "y" "n" (eq .Values.yes "true") }}
{{ eq .Values.name "acme" }} {{ ne .Values.name "acme" }} {{ eq .Values.name "x" "acme" }}
{{ eq (.Values.on | toString) "true" }} {{ eq (.Values.yes | toString) "true" }}
{{ and .Values.on .Values.name }} {{ and .Values.off .Values.name }} {{ or .Values.empty .Values.name }} {{ or .Values.empty .Values.off }}
{{ not .Values.on }} {{ not .Values.empty }} {{ not .Values.missing }}
{{ lt 1 2 }} {{ le 2 2 }} {{ gt 1 2 }} {{ ge 2 3 }} {{ lt "a" "b" }}
{{ if .Values.on }}yes{{ else }}no{{ end }}
{{ if .Values.no }}a text is true{{ else }}no{{ end }}
{{ if .Values.off }}a{{ else if .Values.name }}b{{ else }}c{{ end }}
{{ if and .Values.name (not .Values.missing) (or .Values.off .Values.yes) }}x{{ end }}
{{ if .Values.missing }}x{{ end }}|
{{ with .Values.nested }}{{ .key }}{{ .deep.er }}{{ end }}
{{ with .Values.missing }}x{{ else }}none{{ end }}
{{ with .Values.missing }}x{{ else with .Values.name }}{{ . }}{{ end }}
{{ with $x := .Values.name }}{{ $x }}{{ . }}{{ $.Values.version }}{{ end }}
{{ range splitList "," .Values.csv }}[{{ . }}]{{ end }}
{{ range $i, $x := splitList "," .Values.csv }}{{ $i }}={{ $x }};{{ end }}
{{ range $k, $v := .Values.loft }}{{ $k }}={{ $v }};{{ end }}
{{ range list }}x{{ else }}empty{{ end }}
{{ range .Values.missing }}x{{ else }}none{{ end }}
{{ range $i := until 5 }}{{ if eq $i 3 }}{{ break }}{{ end }}{{ if eq $i 1 }}{{ continue }}{{ end }}{{ $i }}{{ end }}
{{ range 3 }}{{ . }}{{ end }}
{{ range list 3 1 2 }}{{ . }},{{ end }}
{{ $x := "a" }}{{ if true }}{{ $x = "b" }}{{ end }}{{ $x }}
{{ $x := .Values.name }}{{ range until 2 }}{{ $x }}{{ $.Values.count }}{{ end }}
{{ $x := list }}{{ range until 3 }}{{ $x = append $x (printf "n%d" .) }}{{ end }}{{ join "," $x }}
a   {{- .Values.name -}}   b
{{- .Values.name }}  {{ .Values.version -}}
a {{- /* a comment */ -}} b{{/* another */}}
x{{ "{{" }}y{{ "}}" }}z{{ `{{ raw }}` }}
{{ list 1 "a" true nil }}
{{ list "a" "b" | first }} {{ list "a" "b" | last }} {{ list "a" "b" "c" | rest }} {{ list "a" "b" "c" | initial }}
{{ list "c" "a" "b" | sortAlpha | join "," }} {{ list "a" "b" "a" | uniq | join "," }} {{ has "a" (list "a") }}
{{ list "a" "" "b" | compact | join "," }} {{ without (list "a" "b") "a" }} {{ concat (list 1) (list 2) }} {{ prepend (list 1) 0 }}
{{ list "a" "b" "c" | reverse }} {{ slice (list 1 2 3) 1 2 }} {{ chunk 2 (list 1 2 3) }}
{{ dict "a" 1 "b" (dict "c" "d") }}
{{ $d := dict "a" 1 }}{{ $_ := set $d "b" "x" }}{{ $d | toJson }} {{ unset $d "a" | toJson }}
{{ merge (dict "a" 1) (dict "a" 2 "b" 3) | toJson }} {{ mergeOverwrite (dict "a" 1) (dict "a" 2 "b" 3) | toJson }}
{{ merge (dict "n" (dict "x" "1")) .Values.nested | toJson }}
{{ hasKey .Values "name" }} {{ hasKey .Values "missing" }} {{ get .Values.nested "key" }}|{{ get .Values.nested "none" }}|
{{ pluck "key" .Values.nested (dict "key" "other") }} {{ pick .Values.nested "key" | toJson }} {{ omit .Values.nested "deep" | toJson }}
{{ keys .Values.loft | sortAlpha | join "," }}
{{ keys .Values.nested (dict "z" 1) | sortAlpha }}
{{ values (dict "a" "only") | join "," }}
{{ dig "deep" "er" "none" .Values.nested }} {{ dig "deep" "x" "none" .Values.nested }}
{{ deepCopy .Values.nested | toJson }} {{ deepEqual (list 1) (list 1) }}
{{ index .Values "name" }} {{ index .Values.nested "deep" "er" }} {{ index (list "a" "b") 1 }} {{ index .Values "none" }}|
{{ len .Values.name }} {{ len .Values.unicode }} {{ len (list 1 2) }} {{ len .Values.nested }}
{{ splitList "," .Values.csv | toJson }} {{ (split "," .Values.csv)._1 }} {{ (splitn "," 2 .Values.csv)._1 }}
{{ list 1 2 3 | join "-" }} {{ join "," .Values.name }}
{{ .Values.on | toString }} {{ 1.0 | toString }} {{ list 1 2 | toString }} {{ .Values.nested | toString }}
{{ .Values.missing | toString }}
{{ toYaml .Values.nested }}
{{ toYaml .Values.text }}
{{ .Values | toYaml }}
{{ toYaml (dict "list" (list "a" (dict "b" 1) (list 2)) "empty" list "map" dict "nil" nil "f" 1.5 "i" 3 "t" true) }}
{{ toYaml (list "true" "no" "on" "y" "null" "~" "1" "1.5" "0x1f" "1e3" "2024-01-01" "" " a" "a " "a: b" "- a" "#a" "a #b" "@a" "%a" "'a'" "*a" "&a" "!a" "{a" "[a" "a\tb") }}
{{ toYaml .Values.long }}
{{ toYaml (dict "a" .Values.long "b" .Values.unicode "c" .Values.quotes) }}
{{ toYaml (dict "text" .Values.text "blank" "a\n\nb\n" "lead" "  a\nb" "trail" "a\nb\n\n" "tab" "a\tb\nc") }}
{{ toYaml (dict "big" 1000000 "neg" -1 "float" 0.1 "exp" 1e21) }}
x:{{ toYaml .Values.nested | nindent 2 }}
{{ toYaml .Values.nested | indent 4 }}
{{ dict "a" (list 1 2) "b" .Values.html | toJson }} {{ .Values.html | toRawJson }}
{{ .Values.nested | toPrettyJson }}
{{ .Values.unicode | toJson }} {{ .Values.quotes | toJson }} {{ list | toJson }} {{ dict | toJson }} {{ 1.0 | toJson }}
{{ fromYaml .Values.yaml | toJson }}
{{ (fromYaml .Values.yaml).a }} {{ (fromYaml .Values.yaml).e }} {{ (fromYaml .Values.yaml).f }} {{ (fromYaml .Values.yaml).b }}
{{ fromYaml "a: yes\nb: 0123\nc: 2024-01-01\nd: 1e3\ne: ~" | toJson }}
{{ fromYaml (printf "a: 0x%s\nb: 0%s\nc: 0%s\nd: 0o%s\ne: 0b%s" (repeat 17 "f") (repeat 25 "7") (repeat 400 "7") (repeat 25 "7") (repeat 65 "1")) | toJson }}
{{ fromYaml (printf "a: %s\nb: %s\nc: 1e999\nd: -1e999\ne: %s" (repeat 23 "9") (repeat 400 "9") (repeat 5000 "9")) | toJson }}
{{ fromYaml "a: 1__0\nb: 1_0.5\nc: 0x_\nd: +_1\ne: 0b101\nf: -0x10\ng: -9223372036854775809" | toJson }}
{{ fromYaml (printf "a: 0%s17\nb: 0x%s1f\nc: 0b%s11" (repeat 80 "0") (repeat 80 "0") (repeat 80 "0")) | toJson }}
{{ hasKey (fromYaml "a: [") "Error" }} {{ hasKey (fromYaml "[a]") "Error" }} {{ fromYaml "" | toJson }}
{{ fromYaml "a: &x {b: 1}\nc: *x\nd: {<<: *x, e: 2}\n8080: y\nbig: 12345678901234567890\nt: 1:30\ns: !!str 12" | toJson }}
{{ toYaml (fromYaml "a: 1.0\nb: 1e-7\nc: 123456.5\nd: 1234567.5\ne: 1e19\nf: 1e20\ng: 0.00001234\nh: -0.5") }}
{{ fromYamlArray "[a, {b: 1}]" | toJson }}
{{ fromJson .Values.json | toJson }} {{ (fromJson .Values.json).a }} {{ (fromJson .Values.json).b }}
{{ fromJsonArray "[1, \"a\"]" | toJson }} {{ hasKey (fromJson "{") "Error" }}
{{ toToml (dict "z" (dict "y" (dict "x" "1" "w" (list (dict "k" 1) (dict "k" 2)))) "s" (list (dict "k" "a") (dict "k" "b")) "with space" 1.0 "q" "a\"b\n" "n" nil) }}
{{ toToml (dict "a" 1 "b" "x" "c" (list 1 2) "d" (dict "e" true "f" 1.5)) }}
{{ .Values.text | indent 2 }}
{{ .Values.text | nindent 2 }}
{{ printf "%s %d %v %q %t %5d|%-5d|%05d %x %.2f %%" "a" 1 .Values.on "q" true 42 42 42 255 3.14159 }}
{{ printf "%v" .Values.nested }} {{ printf "%s" (list "a" "b") }} {{ printf "%v" (list 1 "a") }} {{ printf "%T" .Values.name }} {{ printf "%d" "x" }}
{{ printf "%s" .Values.missing }} {{ printf "%v" nil }}
{{ print "a" 1 2 "b" }} {{ println "x" }}
{{ .Values.count | int }} {{ "3.7" | float64 }} {{ "x" | int }} {{ 3.7 | int }} {{ .Values.on | int }} {{ "0x10" | int64 }} {{ "12" | atoi }}
{{ add 1 2 3 }} {{ sub 5 3 }} {{ mul 2 3 4 }} {{ div 7 2 }} {{ mod 7 2 }} {{ add1 .Values.count }} {{ max 1 5 3 }} {{ min 4 2 }}
{{ addf 1.5 2 }} {{ mulf 1.5 2 }} {{ divf 1 4 }} {{ floor 3.7 }} {{ ceil 3.2 }} {{ round 3.14159 2 }}
{{ 1e6 }} {{ 1000000 }} {{ 1.0 }} {{ 0.1 }} {{ 1e21 }} {{ 0x10 }} {{ 1_000 }} {{ 'a' }}
{{ semverCompare ">=1.16.0" .Values.version }} {{ semverCompare "^2" .Values.version }} {{ semverCompare "~1.16" "1.16.9" }} {{ semverCompare ">1.0.0-0" "1.1.0-beta" }}
{{ (semver .Values.version).Major }}.{{ (semver .Values.version).Minor }}
{{ regexMatch "^v[0-9]+" .Values.version }} {{ regexFind "[0-9]+" .Values.version }} {{ regexFindAll "[0-9]+" .Values.version -1 }}
{{ regexReplaceAll "v([0-9]+)\\.([0-9]+)" .Values.version "${2}-$1" }} {{ regexReplaceAllLiteral "o" .Values.words "$0" }} {{ regexSplit "," .Values.csv -1 }} {{ regexQuoteMeta "a.b" }}
{{ .Values.name | b64enc }} {{ "YWNtZQ==" | b64dec }} {{ .Values.name | b32enc }}
{{ .Values.name | sha256sum }} {{ .Values.name | sha1sum }} {{ .Values.name | adler32sum }}
{{ .Values.words | trunc 5 }} {{ .Values.words | trunc -3 }} {{ .Values.words | abbrev 8 }} {{ substr 0 3 .Values.words }} {{ nospace .Values.words }}
{{ printf "%s-%s" .Values.name .Values.words | replace " " "-" | trunc 12 | trimSuffix "-" }}
{{ "fooBar baz" | snakecase }} {{ "fooBar baz" | kebabcase }} {{ "foo_bar" | camelcase }} {{ initials .Values.words }} {{ wrap 10 .Values.words }} {{ repeat 3 "ab" }} {{ cat "a" "b" 1 }} {{ plural "one" "many" 2 }}
{{ kindIs "string" .Values.name }} {{ kindIs "map" .Values.nested }} {{ kindIs "bool" .Values.on }} {{ kindIs "slice" (list 1) }} {{ kindIs "invalid" .Values.missing }} {{ kindOf 1 }} {{ kindOf 1.5 }} {{ kindOf "a" }}
{{ typeIs "string" .Values.name }} {{ typeOf .Values.name }} {{ typeOf 1 }} {{ typeOf (list 1) }} {{ typeOf (dict) }}
{{ empty .Values.empty }} {{ empty .Values.name }} {{ empty .Values.off }} {{ empty .Values.missing }} {{ empty (list) }} {{ empty 0 }}
{{ coalesce .Values.missing .Values.empty .Values.name "x" }} {{ all .Values.name .Values.empty }} {{ any .Values.name .Values.empty }}
{{ required "needed" .Values.name }}
{{ tpl "{{ .Values.name | upper }}" . }} {{ tpl .Values.name . }}
{{ define "one.name" }}{{ .Values.name }}-{{ .Values.version }}{{ end }}{{ include "one.name" . | quote }}
{{ define "two.list" }}a: {{ . }}{{ end }}x:{{ include "two.list" "b" | nindent 2 }}
{{ define "three" }}<{{ . }}>{{ end }}{{ template "three" .Values.name }}
{{ define "four" }}{{ if gt (int .) 0 }}{{ . }}{{ include "four" (sub (int .) 1) }}{{ end }}{{ end }}{{ include "four" 3 }}
{{ block "five" .Values.name }}({{ . }}){{ end }}
{{ until 3 }} {{ untilStep 1 10 3 }} {{ seq 1 3 }} {{ seq 0 2 6 }}
{{ toDate "2006-01-02T15:04:05Z07:00" .Values.date | date "2006-01-02 15:04" }}
{{ date "Jan 2, 2006" 1709212455 }} {{ dateInZone "15:04 MST" 1709212455 "America/New_York" }} {{ htmlDate 0 }}
{{ toDate "2006-01-02" "2024-02-28" | dateModify "48h" | date "2006-01-02" }} {{ toDate "2006-01-02" "1970-01-02" | unixEpoch }}
{{ duration "3661" }} {{ durationRound "36h10m" }}
{{ urlParse "https://u:p@h.example:8080/p?q=1#f" | toJson }} {{ urlquery "a b&c" }} {{ html .Values.html }} {{ js "it's" }}
{{ base "a/b.c" }} {{ dir "a/b.c" }} {{ ext "a/b.c" }} {{ clean "a/../b" }} {{ isAbs "/a" }}
{{ (index (splitList "," .Values.csv) 0) | upper | printf "%s-%s" "x" | quote }}
{{ not (empty .Values.name) | ternary (printf "has %s" .Values.name) "none" }}
{{ .Values.norway }} {{ .Values.octal }} {{ .Values.exponent | quote }} {{ .Values.colon | quote }}
""".strip().splitlines()  # noqa: E501  # an expression stands on one line

# Whitespace control over several lines, where a byte too many is a broken manifest.
TEXTS = [
    """crds:
  enabled: {{ .Values.on }}
{{- if .Values.nested.deep.flag }}
extra:
  {{- range $k, $v := .Values.loft }}
  {{ $k }}: {{ $v | quote }}
  {{- end }}
{{- end }}
""",
    """a:
{{- with .Values.nested }}
  {{- toYaml . | nindent 2 }}
{{- end }}
b: {{ .Values.missing | default `x` }}
""",
    """{{- $name := printf `%s-%s` .Values.loft.project .Values.name | trunc 63 | trimSuffix `-` -}}
name: {{ $name }}


{{- /* end */ -}}
""",
    """list:
{{- range $i, $item := splitList `,` .Values.csv }}
  - index: {{ $i }}
    item: {{ $item }}
{{- else }} []
{{- end }}
""",
    "{{ range $i := until 3 }}{{ if $i }},\n{{ end }}{{ $i }}{{ end }}\r\n{{- /* carriage\n return */}}\n\tend",
    """{{ with .Values.nested }}{{ with .deep }}{{ $.Values.name }}/{{ .er }}{{ end }}{{ end }}
{{ if true -}}
   x
{{- end }}
""",
]

FAILURES = r"""
{{ unknownFunction .Values.name }}
{{ .Values.name | nope }}
{{ fail "stop here" }}
{{ required "give a name" .Values.missing }}
{{ required "give a name" .Values.empty }}
{{ .Values.missing.deeper }}
{{ .Values.name.field }}
{{ .Values.name
{{ if .Values.name }}
{{ end }}
{{ else }}
{{ .Values.name }
{{ "unclosed }}
{{ $undefined }}
{{ upper }}
{{ upper 1 }}
{{ trunc "a" "b" }}
{{ add 1 | upper }}
{{ index (list 1) 5 }}
{{ index .Values.name "a" }}
{{ len 3 }}
{{ lt 1 "a" }}
{{ eq 1 "1" }}
{{ eq .Values.nested .Values.nested }}
{{ range "text" }}{{ end }}
{{ include "nowhere" . }}
{{ template "nowhere" . }}
{{ tpl "{{ .Values.name" . }}
{{ env "HOME" }}
{{ expandenv "$HOME" }}
{{ ternary "a" "b" "true" }}
{{ nil | toJson }}
{{ hasKey .Values.missing "a" }}
{{ .Values.missing | upper }}
{{ keys .Values.name }}
{{ get .Values.name "x" }}
{{ "abc" | first }}
{{ pluck "a" "b" }}
{{ toYaml }}
{{ nil }}x
{{ slice (list 1) 5 }}
{{ merge "a" (dict) }}
{{ hasKey .Values.name "a" }}
{{ dict "a" 1 | first }}
{{ div 1 0 }}
{{ b64dec }}
{{ break }}
{{ define "x" }}
{{ nil }}
{{ . | .Values.name }}
{{ toDate }}
{{ mustFromJson "{" }}
{{ mustToDate "2006" "x" }}
""".strip().splitlines()


@pytest.fixture(scope="session")
def helm() -> Path:
    """Return the real Helm."""
    found = Toolchain().locate(["helm"])["helm"]
    if found is None:
        pytest.skip("helm is not built on this machine; `make test` builds it")
    return Path(found.path)


def run(helm: Path, chart: Path, files: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run `helm template` over a chart of these files and the shared values."""
    content = {
        "Chart.yaml": "apiVersion: v2\nname: oracle\nversion: 0.0.1\n",
        "values.yaml": format_values(VALUES),
        **files,
    }
    for name, text in content.items():
        path = chart / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    environ = {"PATH": os.environ["PATH"], "HOME": str(chart), "TZ": "UTC"}
    return subprocess.run(
        [helm, "template", "oracle", chart],
        capture_output=True,
        text=True,
        env=environ,
        timeout=60,
        check=False,
    )


@pytest.fixture(scope="session")
def rendered(helm: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return what Helm renders for each expression, from one run over all of them."""
    texts = [*EXPRESSIONS, *TEXTS]
    lines = [
        f'  c{index:03}: {{{{ tpl (.Files.Get "cases/{index:03}") . | b64enc | quote }}}}'
        for index in range(len(texts))
    ]
    template = "\n".join(["kind: Oracle", "data:", *lines])
    files = {f"cases/{index:03}": text for index, text in enumerate(texts)} | {"templates/all.yaml": template}
    result = run(helm, tmp_path_factory.mktemp("chart"), files)
    assert result.returncode == 0, result.stderr
    data = parse_values(result.stdout)["data"]
    return {text: base64.b64decode(data[f"c{index:03}"]).decode() for index, text in enumerate(texts)}


def test_there_are_enough_expressions():
    """The oracle covers what the definition of the work asks for, each expression once."""
    assert len(EXPRESSIONS) >= 90
    assert len(set(EXPRESSIONS)) == len(EXPRESSIONS)


@pytest.mark.parametrize("text", [*EXPRESSIONS, *TEXTS])
def test_renders_as_helm_does(text, rendered):
    """An expression gives the same bytes here and in Helm."""
    assert render_text(text, VALUES) == rendered[text]


@pytest.mark.parametrize("text", FAILURES)
def test_fails_where_helm_fails(text, helm, tmp_path):
    """What Helm refuses is refused here, and never with a Python error."""
    result = run(helm, tmp_path, {"templates/case.yaml": text})

    assert result.returncode != 0, result.stdout
    with pytest.raises(GoTemplateError) as caught:
        render_text(text, VALUES)
    assert caught.value.message


def test_values_text_is_read_back_by_the_platforms_parser(helm, tmp_path):
    """What we write as YAML, traps and all, is the same data to sigs.k8s.io/yaml, which Helm and the platform share."""
    traps = "yes no on off y n Y N true True null Null ~ 0123 08 0o17 0x1f 0b1 1_000 1e3 1E3 .5 5. +1 -1 1.10 .inf .NaN"
    marks = "2024-01-01 1:30 << = ' \" \\ % @ ` | > ! &a *a ? \u00e9\u2603 \U0001f600 \x7f \ufeff"
    spaced = [
        "",
        " ",
        "a: b",
        "- a",
        "# a",
        "a\tb",
        "a\n",
        "\n",
        "a\nb",
        " a\nb ",
        "\x85",
        "\u2028",
        "{{ .x }}",
    ]
    strings = [*traps.split(), *marks.split(" "), *spaced]
    other: list[object] = [1, 0, -5, 1.5, True, False, None, {}, []]
    data = {"strings": strings, "keys": dict.fromkeys(strings, "v"), "other": other}
    case = "kind: Oracle\nseen: {{ toJson .Values | b64enc | quote }}\n"
    result = run(helm, tmp_path, {"values.yaml": format_values(data), "templates/case.yaml": case})

    assert result.returncode == 0, result.stderr
    assert json.loads(base64.b64decode(parse_values(result.stdout)["seen"])) == data


def test_values_text_is_read_as_the_platforms_parser_reads_it(helm, tmp_path):
    """What people write by hand means the same to us and to sigs.k8s.io/yaml."""
    text = """
words: [yes, No, on, OFF, y, N, true, False, null, ~, NULL]
numbers: [0123, 08, 0o17, 0x1F, 0b11, 1_000, 1e3, .5, 5., +1, -1, 1.10, 1E-2, 4503599627370496]
texts: [1.2.3, 1:30, 2024-01-01, 0x, 1e, "1", '2', 1_0_a, 12e03x, v1]
8080: port
true: flag
1.5: float
base: &base {a: 1, b: 2}
merged: {<<: *base, b: 3}
several: {<<: [*base, {c: 4, a: 9}]}
alias: *base
block: |
  a
   b
folded: >-
  a
  b
tagged: !!str 12
empty:
"""
    case = "kind: Oracle\nseen: {{ toJson (fromYaml (.Files.Get `text`)) | b64enc | quote }}\n"
    result = run(helm, tmp_path, {"text": text, "templates/case.yaml": case})

    assert result.returncode == 0, result.stderr
    assert parse_values(text) == json.loads(base64.b64decode(parse_values(result.stdout)["seen"]))
