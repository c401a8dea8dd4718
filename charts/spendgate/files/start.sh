#!/bin/sh
# Writes this pod's redis.conf and sentinel.conf into $OUT: under the master that the sentinels know, and where none
# knows one yet (the very first start) under the first node. NODES: the pods' names; SELF: this one's.
set -eu
port=${REDIS_PORT:-6379} sentinel=${SENTINEL_PORT:-26379} out=${OUT:-/run/redis} config=${CONFIG:-/etc/redis/redis.conf}
master=""
for node in $NODES; do
  [ "$node" != "$SELF" ] || continue
  master=$(timeout 2 redis-cli -h "$node" -p "$sentinel" --raw sentinel get-master-addr-by-name ledger 2>/dev/null | head -n 1) || true
  case $master in "" | *ERR* | *refused*) master="" ;; *) break ;; esac
done
[ -n "$master" ] || master=${NODES%% *}
{
  cat "$config"
  echo "port $port"
  echo "replica-announce-ip $SELF"
  echo "min-replicas-to-write 1"
  echo "min-replicas-max-lag 10"
  [ "$master" = "$SELF" ] || echo "replicaof $master $port"
} >"$out/redis.conf"
cat >"$out/sentinel.conf" <<CONF
port $sentinel
dir $out
protected-mode no
sentinel resolve-hostnames yes
sentinel announce-hostnames yes
sentinel announce-ip $SELF
sentinel monitor ledger $master $port 2
sentinel down-after-milliseconds ledger ${DOWN_AFTER_MS:-5000}
sentinel failover-timeout ledger ${FAILOVER_MS:-30000}
sentinel parallel-syncs ledger 1
CONF
