#!/usr/bin/env bash
# Alarms on CPU and memory, and Container Insights.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

chapter 'Alarms'
for metric in CPUUtilization MemoryUtilization; do
    aws cloudwatch put-metric-alarm --alarm-name "$APP-$metric" --namespace AWS/ECS --metric-name "$metric" \
        --dimensions "Name=ClusterName,Value=$APP" "Name=ServiceName,Value=$APP" --statistic Average --period 60 \
        --evaluation-periods 3 --threshold 80 --comparison-operator GreaterThanThreshold \
        --alarm-description "$metric of $APP over 80 %"
done
alarms=$(value cloudwatch describe-alarms --alarm-name-prefix "$APP-" --query 'length(MetricAlarms)')
[ "$alarms" = 2 ] || fail "$alarms alarms instead of 2"
fact 'alarms on CPU and memory over 80 % for three minutes'
aws ecs update-cluster-settings --cluster "$APP" --settings name=containerInsights,value=enabled >/dev/null
insights=$(value ecs describe-clusters --clusters "$APP" --include SETTINGS \
    --query "clusters[0].settings[?name=='containerInsights'].value | [0]")
[ "$insights" = enabled ] || fail "containerInsights is '$insights'"
fact 'Container Insights enabled on the cluster'
