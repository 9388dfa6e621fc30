#!/usr/bin/env bash
# From an empty account to a two-task Fargate service behind an internal load balancer: plain aws commands, in the
# order of a deployment guide.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

chapter '1. Image repository'
aws ecr create-repository --repository-name "$APP" --image-scanning-configuration scanOnPush=true >/dev/null
aws ecr put-lifecycle-policy --repository-name "$APP" \
    --lifecycle-policy-text "file://$here/aws/lifecycle-policy.json" >/dev/null
fact "repository $(repository_uri): scans on push, keeps the last 10 images"
build_and_push 1
fact "image pushed: $(value ecr describe-images --repository-name "$APP" --query 'imageDetails[0].imageDigest')"

chapter '2. Cluster'
aws ecs create-cluster --cluster-name "$APP" --capacity-providers FARGATE \
    --default-capacity-provider-strategy capacityProvider=FARGATE,weight=1 >/dev/null
fact "cluster $APP is $(value ecs describe-clusters --clusters "$APP" --query 'clusters[0].status')"

chapter '3. Roles'
aws iam create-role --role-name "$APP-execution" \
    --assume-role-policy-document "file://$here/aws/ecs-tasks-trust.json" >/dev/null
aws iam attach-role-policy --role-name "$APP-execution" --policy-arn "$ROLE_POLICY"
aws iam create-role --role-name "$APP-task" \
    --assume-role-policy-document "file://$here/aws/ecs-tasks-trust.json" >/dev/null
aws iam put-role-policy --role-name "$APP-task" --policy-name read-users \
    --policy-document "file://$here/aws/task-role-policy.json"
fact 'execution role (pulls the image, writes the logs) and task role (what the application may do)'

chapter '4. Task definition'
revision=$(register_revision 1)
fact "${revision##*/}: 256 CPU units, 512 MiB, awsvpc, container health check, logs to /ecs/$APP"

chapter '5. Network'
vpc=$(value ec2 describe-vpcs --filters Name=isDefault,Values=true --query 'Vpcs[0].VpcId')
cidr=$(value ec2 describe-vpcs --vpc-ids "$vpc" --query 'Vpcs[0].CidrBlock')
read -r subnet_a subnet_b _ < <(aws ec2 describe-subnets --output text \
    --filters "Name=vpc-id,Values=$vpc" Name=default-for-az,Values=true \
    --query 'sort_by(Subnets, &AvailabilityZone)[].SubnetId')
fact "default VPC $vpc ($cidr), subnets $subnet_a and $subnet_b"
alb_group=$(value ec2 create-security-group --group-name "$APP-alb" --vpc-id "$vpc" \
    --description 'The load balancer' --query GroupId)
aws ec2 authorize-security-group-ingress --group-id "$alb_group" --protocol tcp --port "$LISTENER_PORT" --cidr "$cidr" >/dev/null
task_group=$(value ec2 create-security-group --group-name "$APP-tasks" --vpc-id "$vpc" \
    --description 'The tasks' --query GroupId)
aws ec2 authorize-security-group-ingress --group-id "$task_group" --protocol tcp --port 8000 \
    --source-group "$alb_group" >/dev/null
fact "security groups: $cidr -> $APP-alb:$LISTENER_PORT, $APP-alb -> $APP-tasks:8000"

chapter '6. Load balancer'
alb=$(value elbv2 create-load-balancer --name "$APP" --scheme internal --type application \
    --subnets "$subnet_a" "$subnet_b" --security-groups "$alb_group" --query 'LoadBalancers[0].LoadBalancerArn')
target_group=$(value elbv2 create-target-group --name "$APP" --protocol HTTP --port 8000 --vpc-id "$vpc" \
    --target-type ip --health-check-path /health --health-check-interval-seconds 5 --health-check-timeout-seconds 2 \
    --healthy-threshold-count 2 --unhealthy-threshold-count 2 --matcher HttpCode=200 \
    --query 'TargetGroups[0].TargetGroupArn')
aws elbv2 modify-target-group-attributes --target-group-arn "$target_group" \
    --attributes Key=deregistration_delay.timeout_seconds,Value=5 >/dev/null
aws elbv2 create-listener --load-balancer-arn "$alb" --protocol HTTP --port "$LISTENER_PORT" \
    --default-actions "Type=forward,TargetGroupArn=$target_group" >/dev/null
read -r state reason < <(aws elbv2 describe-load-balancers --load-balancer-arns "$alb" --output text \
    --query 'LoadBalancers[0].State.[Code, Reason]')
[ "$state" != failed ] || fail "the load balancer failed: $reason"
aws elbv2 wait load-balancer-available --load-balancer-arns "$alb"
fact "$(alb_url)/ forwards to target group $APP (ip targets, health check on /health)"

chapter '7. Service'
aws ecs create-service --cluster "$APP" --service-name "$APP" --task-definition "$APP" --desired-count 2 \
    --launch-type FARGATE --enable-execute-command \
    --deployment-configuration \
    'deploymentCircuitBreaker={enable=true,rollback=true},maximumPercent=200,minimumHealthyPercent=50' \
    --network-configuration \
    "awsvpcConfiguration={subnets=[$subnet_a,$subnet_b],securityGroups=[$task_group],assignPublicIp=ENABLED}" \
    --load-balancers "targetGroupArn=$target_group,containerName=app,containerPort=8000" \
    --health-check-grace-period-seconds 30 >/dev/null
follow_service
fact "service $APP is stable with 2 tasks"

chapter '8. Private API'
api=$(value apigateway create-rest-api --name "$APP" --endpoint-configuration types=PRIVATE \
    --policy "$(sed "s|@VPC@|$vpc|" "$here/aws/private-api-policy.json")" --query id)
root=$(value apigateway get-resources --rest-api-id "$api" --query 'items[0].id')
query=$(value apigateway create-resource --rest-api-id "$api" --parent-id "$root" --path-part query --query id)
user=$(value apigateway create-resource --rest-api-id "$api" --parent-id "$query" --path-part user --query id)
account=$(value sts get-caller-identity --query Account)
function=arn:aws:lambda:$REGION:$account:function:$APP
aws apigateway put-method --rest-api-id "$api" --resource-id "$user" --http-method POST \
    --authorization-type NONE >/dev/null
aws apigateway put-integration --rest-api-id "$api" --resource-id "$user" --http-method POST --type AWS_PROXY \
    --integration-http-method POST \
    --uri "arn:aws:apigateway:$REGION:lambda:path/2015-03-31/functions/$function/invocations" >/dev/null
aws apigateway create-deployment --rest-api-id "$api" --stage-name prod >/dev/null
fact "private API $api: POST /query/user -> Lambda $APP, stage prod"
