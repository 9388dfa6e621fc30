#!/usr/bin/env bash
# A new image, a new revision, a rolling update:   update.sh [VERSION]
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
version=${1:-2}

chapter "Update to version $version"
build_and_push "$version"
revision=$(register_revision "$version")
before=$(event_count)
aws ecs update-service --cluster "$APP" --service "$APP" --task-definition "${revision##*/}" >/dev/null
follow_service "$before"
now=$(value ecs describe-services --cluster "$APP" --services "$APP" --query 'services[0].taskDefinition')
[ "$now" = "$revision" ] || fail "the service runs $now"
answer=$(curl -fsS --max-time 5 "$(alb_url)/health")
grep -q "\"version\": \"$version\"" <<<"$answer" || fail "the load balancer still answers $answer"
fact "${revision##*/} is deployed; the load balancer answers $answer"
