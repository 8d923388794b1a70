#!/bin/sh
# Starts the toy model's server, unless it runs, and the stack in front of it. The server ends with the stack.
set -eu
cd "$(dirname "$0")/../.."
port=${TINY_PORT:-8081}
url=http://127.0.0.1:$port

sh deploy/native/setup.sh run
sh deploy/tiny/setup.sh
up() { .venv/bin/python -c "import urllib.request as u; u.urlopen('$url/health', timeout=1)" 2>/dev/null; }
mkdir -p run/logs
if ! up; then
    nohup .venv-model/bin/python deploy/tiny/server.py --port "$port" --ends-with run/supervisord.pid \
        >run/logs/tiny.log 2>&1 </dev/null &
    seconds=0
    until up; do
        seconds=$((seconds + 1))
        [ "$seconds" -lt 60 ] && kill -0 $! 2>/dev/null || { echo "The toy does not start: run/logs/tiny.log" >&2; exit 1; }
        sleep 1
    done
fi
MODE=native PROVIDER=openai OPENAI_BASE_URL=$url/v1 OPENAI_MODEL_ID=smollm2-135m OPENAI_API_KEY= \
    MAX_TOKENS=${MAX_TOKENS:-400} sh deploy/chat.sh start
echo "  THIS MODEL IS A TOY of 135 million parameters: it talks, for real and on this machine, but knows next to nothing."
echo "  For answers worth reading: PROVIDER=ollama, openai or bedrock in .env, then make stop start"
echo
