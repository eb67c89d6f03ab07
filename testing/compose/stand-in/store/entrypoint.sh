#!/bin/bash
# Runs VersityGW as if it were MinIO: `server /data --address :9000 --certs-dir DIR …` with MINIO_* in the environment.
# VersityGW never reconnects to its broker and stays "healthy": this script ends when the connection is gone, so that
# the restart policy starts it again.
set -euo pipefail

if [ "${STORE_FLAVOUR:-versitygw}" = minio ]; then
  exec minio "$@"
fi

[ "${1:-}" = server ] || { echo "stand-in: expected 'server …', got '$*'" >&2; exit 64; }
shift
data='' address=':9000' certs=''
while [ $# -gt 0 ]; do
  case "$1" in
    --address) address=$2; shift 2 ;;
    --certs-dir) certs=$2; shift 2 ;;
    --console-address) shift 2 ;;
    --*) echo "stand-in: unknown option $1" >&2; exit 64 ;;
    *) data=$1; shift ;;
  esac
done
[ -n "$data" ] && [ -n "$certs" ] || { echo 'stand-in: a data folder and --certs-dir are needed' >&2; exit 64; }

broker_url=${MINIO_NOTIFY_AMQP_URL_FAST:?}
export VGW_EVENT_RABBITMQ_URL=$broker_url
export VGW_EVENT_RABBITMQ_EXCHANGE=${MINIO_NOTIFY_AMQP_EXCHANGE_FAST:?}
export VGW_EVENT_RABBITMQ_ROUTING_KEY=${MINIO_NOTIFY_AMQP_ROUTING_KEY_FAST:?}
export ROOT_ACCESS_KEY=${MINIO_ROOT_USER:?} ROOT_SECRET_KEY=${MINIO_ROOT_PASSWORD:?}
export VGW_REGION=${MINIO_REGION:-us-east-1}
mkdir -p "$data/objects" "$data/versions" "$data/iam"
filter=/tmp/events.json
cat >"$filter" <<'JSON'
{
  "s3:ObjectCreated:Put": true,
  "s3:ObjectCreated:Post": true,
  "s3:ObjectCreated:Copy": true,
  "s3:ObjectCreated:CompleteMultipartUpload": true
}
JSON

# amqps://user:password@host:port/vhost
rest=${broker_url#*@}
port=${rest##*:}
port=${port%%/*}
wanted=$(printf ':%04X' "$port")
connected() { awk -v port="$wanted\$" '$3 ~ port && $4 == "01" { found = 1 } END { exit !found }' /proc/net/tcp /proc/net/tcp6; }

# Its first lines hold the URL with the password.
password=${broker_url#*://*:}
password=${password%%@*}
versitygw --port "$address" --cert "$certs/public.crt" --key "$certs/private.key" \
  --iam-dir "$data/iam" --health /minio/health/ready --keep-alive --quiet --event-filter "$filter" \
  posix --versioning-dir "$data/versions" "$data/objects" > >(sed -u "s/$password/***/g") 2>&1 &
server=$!
trap 'kill -TERM $server 2>/dev/null; wait $server; exit 0' TERM INT

for _ in $(seq 60); do
  connected && break
  kill -0 $server 2>/dev/null || { wait $server; exit $?; }
  sleep 0.5
done
while connected; do
  kill -0 $server 2>/dev/null || { wait $server; exit $?; }
  sleep 1 & wait $!
done
echo 'stand-in: the connection to the broker is gone; ending, so that the restart policy acts' >&2
kill -TERM $server 2>/dev/null || true
wait $server || true
exit 1
