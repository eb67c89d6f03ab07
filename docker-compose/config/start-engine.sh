#!/bin/sh
# Starts clamd with the configuration that clamd-service-init wrote; freshclam beside it when signatures come from a
# mirror, and clamav-rest before it when that is the engine.
set -eu
conf=/opt/av-scan/engine
temporary=/opt/av-scan/engine-temp
# With few file descriptors clamd shortens its queue without a word.
ulimit -n 4096 2>/dev/null || true

# What a killed clamd left behind; nobody else writes here.
rm -rf "$temporary"/* 2>/dev/null || true

if [ -f "$conf/freshclam.conf" ]; then
  if ! ls /var/lib/clamav/*.c[lv]d >/dev/null 2>&1; then
    echo 'clamd-service: downloading signatures; the first time this takes minutes'
    freshclam --config-file="$conf/freshclam.conf" --stdout || {
      echo 'clamd-service: freshclam failed. Set SIGNATURES=mirror:URL or dir:PATH when the public mirror is out of reach' >&2
      sleep 30
      exit 1
    }
  fi
  (
    while sleep 7200; do
      freshclam --config-file="$conf/freshclam.conf" --stdout || echo 'clamd-service: freshclam failed; trying again in two hours' >&2
    done
  ) &
fi

if [ "${ENGINE:-clamd}" = clamav-rest ]; then
  clamd --config-file="$conf/clamd.conf" &
  clamd=$!
  until clamdscan --config-file="$conf/clamd.conf" --ping 1 >/dev/null 2>&1; do
    kill -0 "$clamd" || exit 1
    sleep 1
  done
  clamav-rest &
  rest=$!
  # Either one gone means that nothing is scanned: end, so that the restart policy acts.
  while kill -0 "$clamd" 2>/dev/null && kill -0 "$rest" 2>/dev/null; do sleep 2; done
  exit 1
fi
exec clamd --config-file="$conf/clamd.conf"
