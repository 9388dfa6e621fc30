#!/usr/bin/env bash
# Removes everything that the story made, in the order that AWS wants, and shows that the account is empty.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

gone() { "$@" >/dev/null 2>&1 || true; }   # a second run finds some things gone already

chapter 'Clean up'
api=$(api_id)
[ -z "$api" ] || aws apigateway delete-rest-api --rest-api-id "$api"
aws cloudwatch delete-alarms --alarm-names "$APP-CPUUtilization" "$APP-MemoryUtilization"
if [ -n "$(value ecs describe-services --cluster "$APP" --services "$APP" --query "services[?status=='ACTIVE'].status" 2>/dev/null)" ]; then
    aws ecs update-service --cluster "$APP" --service "$APP" --desired-count 0 >/dev/null
    aws ecs delete-service --cluster "$APP" --service "$APP" --force >/dev/null
    say 'the tasks drain and stop …'
    aws ecs wait services-inactive --cluster "$APP" --services "$APP"
fi
fact 'service deleted'
alb=$(alb_arn 2>/dev/null || true)
if [ -n "$alb" ]; then
    for listener in $(aws elbv2 describe-listeners --load-balancer-arn "$alb" --query 'Listeners[].ListenerArn' --output text); do
        aws elbv2 delete-listener --listener-arn "$listener"
    done
    aws elbv2 delete-load-balancer --load-balancer-arn "$alb"
    aws elbv2 wait load-balancers-deleted --load-balancer-arns "$alb"
fi
group=$(target_group_arn 2>/dev/null || true)
[ -z "$group" ] || aws elbv2 delete-target-group --target-group-arn "$group"
fact 'load balancer and target group deleted'
for revision in $(aws ecs list-task-definitions --family-prefix "$APP" --query 'taskDefinitionArns[]' --output text); do
    aws ecs deregister-task-definition --task-definition "$revision" >/dev/null
done
gone aws ecs delete-cluster --cluster "$APP"
fact 'task definitions and cluster deleted'
for name in "$APP-tasks" "$APP-alb"; do
    id=$(group_id "$name")
    [ -z "$id" ] || aws ec2 delete-security-group --group-id "$id" >/dev/null
done
gone aws iam detach-role-policy --role-name "$APP-execution" --policy-arn "$ROLE_POLICY"
gone aws iam delete-role-policy --role-name "$APP-task" --policy-name read-users
gone aws iam delete-role --role-name "$APP-execution"
gone aws iam delete-role --role-name "$APP-task"
fact 'security groups and roles deleted'
gone aws logs delete-log-group --log-group-name "/ecs/$APP"
uri=$(repository_uri 2>/dev/null || true)
if [ -n "$uri" ]; then
    aws ecr delete-repository --repository-name "$APP" --force >/dev/null
    docker images --quiet "$uri" | sort -u | xargs -r docker rmi --force >/dev/null
    gone docker logout "${uri%%/*}"
fi
fact 'log group and image repository deleted'

chapter 'What is left of it in the account'
left=$(
    aws ecs list-clusters --query "clusterArns[?ends_with(@, ':cluster/$APP')]" --output text
    aws ecs list-task-definitions --family-prefix "$APP" --query 'taskDefinitionArns[]' --output text
    aws elbv2 describe-load-balancers --query "LoadBalancers[?LoadBalancerName=='$APP'].LoadBalancerArn" --output text
    aws elbv2 describe-target-groups --query "TargetGroups[?TargetGroupName=='$APP'].TargetGroupArn" --output text
    aws ecr describe-repositories --query "repositories[?repositoryName=='$APP'].repositoryArn" --output text
    aws iam list-roles --query "Roles[?starts_with(RoleName, '$APP-')].Arn" --output text
    aws logs describe-log-groups --log-group-name-prefix "/ecs/$APP" --query 'logGroups[].arn' --output text
    aws cloudwatch describe-alarms --alarm-name-prefix "$APP-" --query 'MetricAlarms[].AlarmArn' --output text
    aws apigateway get-rest-apis --query "items[?name=='$APP'].id" --output text
    aws ec2 describe-security-groups --filters "Name=group-name,Values=$APP-*" \
        --query 'SecurityGroups[].GroupId' --output text
)
left=$(sed '/^None$/d;/^$/d' <<<"$left")
[ -z "$left" ] || fail "still there: $left"
fact 'nothing: no cluster, task definition, load balancer, repository, role, group, log, alarm or API'
