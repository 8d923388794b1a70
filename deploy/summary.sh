#!/bin/sh
# What a person wants to know after the start: summary.sh PORT PROVIDER MODEL
port=$1 provider=$2 model=$3
suffix=:$port
[ "$port" != 80 ] || suffix=
here=http://localhost$suffix
base=$(printf %s "/${BASE_PATH:-}" | sed 's|//*|/|g; s|/$||')
lan=$(hostname -I 2>/dev/null | awk '{ print $1 }')
case ${BIND:-} in # where Nginx listens, when not everywhere
'' | 0.0.0.0 | ::) ;;
127.* | ::1) lan= ;;
*:*) here=http://[$BIND]$suffix lan= ;;
*) here=http://$BIND$suffix lan= ;;
esac
here=$here$base
key=
[ "${KEYED:-}" != yes ] || key=' -H "Authorization: Bearer $KEY"'

echo
echo "  Page      $here"
[ -z "$lan" ] || echo "  LAN       http://$lan$suffix$base"
echo "  API       $here/docs"
if [ "$provider" = demo ]; then
    echo "  Provider  demo: scripted, no key, no network (PROVIDER=ollama, openai or bedrock in .env for a real model)"
else
    echo "  Provider  $provider, model $model"
fi
echo
echo "  Chat:  curl -N $here/api/v1/chat/hello$key -H 'Content-Type: application/json' -d '{\"message\": \"Tell me a long story\"}'"
echo "  Stop:  curl -X POST '$here/api/v1/stop/hello?wait=2000'$key"
echo
