#!/bin/sh
# Healthy means that the EICAR test file is found: clamd answers PING with any set of signatures, or an empty one.
set -eu
conf=/opt/av-scan/engine/clamd.conf
printf '%s%s%s' 'X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR' '-STANDARD-ANTIVIRUS' '-TEST-FILE!$H+H*' |
  clamdscan --config-file="$conf" --stdout --no-summary - | grep -q ' FOUND$'
[ "${ENGINE:-clamd}" != clamav-rest ] || wget -q -O /dev/null http://127.0.0.1:9000/
