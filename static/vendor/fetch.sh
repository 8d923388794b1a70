#!/bin/sh
# Fetches the vendored libraries from npm, builds the files the page loads and compares them with the
# SHA-256 sums in VENDOR.md. Run by hand (`make vendor`), never at run time. `fetch.sh --print` shows new sums
# after a version change instead of refusing.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
marked=18.2.1 purify=3.4.18 hljs=11.12.0 temml=0.13.5 swagger=5.35.0
languages="bash cpp csharp css diff dockerfile go ini java javascript json makefile markdown nginx php python
rust shell sql typescript xml yaml"

command -v npm >/dev/null || { echo "npm is missing: apt install npm" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

unpack() {
    mkdir "$1" && tar xzf "$(npm pack --silent "$2")" -C "$1" --strip-components=1
}

# Source maps are not shipped, so the lines that point at them would only cause a 404.
unmapped() {
    sed '/^\/\/# sourceMappingURL=/d' "$1"
}

unpack marked "marked@$marked"
unpack purify "dompurify@$purify"
unpack hljs "@highlightjs/cdn-assets@$hljs"
unpack temml "temml@$temml"
unpack swagger "swagger-ui-dist@$swagger"

mkdir out
unmapped marked/lib/marked.esm.js > "out/marked-$marked.min.js"
unmapped purify/dist/purify.min.js > "out/dompurify-$purify.min.js"
{
    sed 's/export{\([A-Za-z]*\) as default};$/const hljs=\1;/' hljs/es/core.min.js
    for language in $languages; do cat "hljs/languages/$language.min.js"; done
    echo 'hljs.registerAliases(["c","h"],{languageName:"cpp"});'
    echo 'export default hljs;'
} > "out/highlight-$hljs.min.js"

{ cat temml/dist/temml.min.js; echo; echo 'export default temml;'; } > "out/temml-$temml.min.js"
unmapped swagger/swagger-ui-bundle.js > "out/swagger-ui-$swagger.min.js"
sed 's|/\*# sourceMappingURL=.*\*/||' swagger/swagger-ui.css > "out/swagger-ui-$swagger.min.css"

cd out
sha256sum -- * > ../sums
if [ "${1:-}" = "--print" ]; then
    cat ../sums
else
    grep -Eo '[0-9a-f]{64}  [a-z-]+-[0-9.]+\.min\.(js|css)' "$here/VENDOR.md" > ../expected
    sha256sum --quiet --strict -c ../expected
    [ "$(wc -l < ../expected)" -eq "$(wc -l < ../sums)" ] || { echo "VENDOR.md does not name every file" >&2; exit 1; }
fi
cp -- * "$here/"
echo "vendored for the page: $(cat -- [dhm]*.js | gzip -9 | wc -c) bytes gzip"
