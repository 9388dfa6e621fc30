#!/usr/bin/env bash
# Another number of tasks:   scale.sh [COUNT]
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
count=${1:-4}

chapter "Scale to $count tasks"
before=$(event_count)
aws ecs update-service --cluster "$APP" --service "$APP" --desired-count "$count" >/dev/null
follow_service "$before"
group=$(target_group_arn)
for _ in $(seq 1 60); do
    healthy=$(healthy_targets "$group")
    [ "$healthy" = "$count" ] && break
done
[ "$healthy" = "$count" ] || fail "$healthy of $count targets are healthy"
fact "$count tasks run, $healthy targets are healthy"
