#!/usr/bin/env bash
# Looks at the deployed service from every side, as the guide's checklist does; fails at the first thing that is not so.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

chapter 'What is running'
desired=$(value ecs describe-services --cluster "$APP" --services "$APP" --query 'services[0].desiredCount')
running=$(value ecs describe-services --cluster "$APP" --services "$APP" --query 'services[0].runningCount')
[ "$running" = "$desired" ] || fail "$running of $desired tasks run"
tasks=$(list_tasks)
[ "$(wc -l <<<"$tasks")" = "$desired" ] || fail "list-tasks does not list $desired tasks"
fact "service ACTIVE: $running of $desired tasks RUNNING"
# A target is healthy after the load balancer's first check; the container's own check comes seconds later (its interval).
for _ in $(seq 1 60); do
    unhealthy=$(value ecs describe-tasks --cluster "$APP" --tasks $tasks \
        --query "length(tasks[?healthStatus!='HEALTHY' || lastStatus!='RUNNING'])")
    [ "$unhealthy" != 0 ] || break
    sleep 0.5
done
[ "$unhealthy" = 0 ] || fail "$unhealthy tasks are not RUNNING and HEALTHY"
fact 'every task is RUNNING and its container health check says HEALTHY'
target_group=$(target_group_arn)
healthy=$(healthy_targets "$target_group")
[ "$healthy" = "$desired" ] || fail "$healthy of $desired targets are healthy"
fact "$healthy targets are healthy in the target group"

chapter 'Through the load balancer'
url=$(alb_url)
health=$(curl -fsS --max-time 5 "$url/health") || fail "$url/health does not answer"
fact "GET  $url/health -> $health"
user=$(curl -fsS --max-time 5 -H 'Content-Type: application/json' -d '{"user_id": "u-1001"}' "$url/query/user") ||
    fail "$url/query/user does not answer"
grep -q 'Ada Lindqvist' <<<"$user" || fail "unexpected answer: $user"
fact "POST $url/query/user -> $user"
addresses=$(for _ in $(seq 1 $((desired * 10))); do curl -fsS --max-time 5 "$url/whoami"; done |
    sed 's/.*"address": "\([^"]*\)".*/\1/' | sort -u)
[ "$(wc -l <<<"$addresses")" = "$desired" ] || fail "only these answered: $addresses"
fact "requests are spread over $desired addresses: $(tr '\n' ' ' <<<"$addresses")"

chapter 'Logs'
logged() { aws logs tail "/ecs/$APP" --since 10m --format short | grep -c '"path": "/query/user"' || true; }
lines=0
for _ in $(seq 1 20); do
    lines=$(logged)
    [ "$lines" = 0 ] || break
done
[ "$lines" != 0 ] || fail "the request is not in the log group /ecs/$APP"
fact "aws logs tail /ecs/$APP shows the request"
task=$(head -1 <<<"$tasks")
stream=ecs/app/${task##*/}
first=$(value logs get-log-events --log-group-name "/ecs/$APP" --log-stream-name "$stream" --start-from-head --limit 1 \
    --query 'events[0].message')
grep -q '"event": "starting"' <<<"$first" || fail "stream $stream does not begin with the task's start: $first"
fact "stream $stream begins with the task's start"
