# What the chapters of the story share; sourced by each of them.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

APP=${APP:-query-service}
LISTENER_PORT=${LISTENER_PORT:-80}   # the load balancer's; another one where this machine's port 80 is not to be had
ROLE_POLICY=arn:aws:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy

# `moor` from the path, or the one of this working copy.
moor=$(command -v moor || true)
moor=${moor:-$here/../../.venv/bin/moor}
if [ -z "${AWS_ENDPOINT_URL:-}" ]; then
    "$moor" status >/dev/null || { echo 'Start Moorage first: moor up --detach' >&2; exit 1; }
    account=${AWS_ACCESS_KEY_ID:-}
    eval "$("$moor" env)"
    # An access key id of 12 digits names an account: it is the caller's choice and stays.
    [[ ! $account =~ ^[0-9]{12}$ ]] || export AWS_ACCESS_KEY_ID=$account
fi
REGION=${AWS_REGION:-${AWS_DEFAULT_REGION:-us-east-1}}

# Every `aws` below is the plain aws CLI. Versions before 1.29 and 2.13 (Debian 12 has 2.9) do not know AWS_ENDPOINT_URL,
# therefore the endpoint goes in as an option, too. Version 2 is taken where there is one, for `aws logs tail`.
AWS_CLI=$("$moor" aws --which)
aws() { command "$AWS_CLI" --endpoint-url "$AWS_ENDPOINT_URL" "$@"; }

# The same with one value as the answer; empty for "None".
value() {
    local answer
    answer=$(aws "$@" --output text)
    [ "$answer" = None ] || printf '%s\n' "$answer"
}

if [ -t 1 ]; then bold=$'\e[1m' dim=$'\e[2m' green=$'\e[32m' plain=$'\e[0m'; else bold='' dim='' green='' plain=''; fi
chapter() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
say() { printf '  %s\n' "$*"; }
fact() { printf '  %s✔%s %s\n' "$green" "$plain" "$*"; }
quote() { sed "s/^/    $dim/;s/\$/$plain/"; }
fail() { printf '  ✘ %s\n' "$*" >&2; exit 1; }

# Where the account's things are, found by their names as a person would.
alb_arn() { value elbv2 describe-load-balancers --names "$APP" --query 'LoadBalancers[0].LoadBalancerArn'; }
alb_dns() { value elbv2 describe-load-balancers --names "$APP" --query 'LoadBalancers[0].DNSName'; }
# Where clients of this machine reach the load balancer.
alb_url() {
    local port
    port=$(value elbv2 describe-listeners --load-balancer-arn "$(alb_arn)" --query 'Listeners[0].Port')
    [ "$port" = 80 ] && port='' || port=:$port
    printf 'http://%s%s\n' "$(alb_dns)" "$port"
}
target_group_arn() { value elbv2 describe-target-groups --names "$APP" --query 'TargetGroups[0].TargetGroupArn'; }
repository_uri() { value ecr describe-repositories --repository-names "$APP" --query 'repositories[0].repositoryUri'; }
group_id() { value ec2 describe-security-groups --filters "Name=group-name,Values=$1" --query 'SecurityGroups[0].GroupId'; }
api_id() { value apigateway get-rest-apis --query "items[?name=='$APP'].id | [0]"; }
list_tasks() { aws ecs list-tasks --cluster "$APP" --service-name "$APP" --query 'taskArns[]' --output text | tr '\t' '\n'; }
healthy_targets() {
    value elbv2 describe-target-health --target-group-arn "$1" \
        --query "length(TargetHealthDescriptions[?TargetHealth.State=='healthy'])"
}

# Builds version $1 of the image and pushes it.
build_and_push() {
    local uri
    uri=$(repository_uri)
    say "building $APP:$1 (no image registry is asked)"
    "$here/build.sh" "$uri:$1" "$1" >/dev/null
    aws ecr get-login-password | docker login --username AWS --password-stdin "${uri%%/*}" 2>/dev/null | quote
    docker push --quiet "$uri:$1" | quote
}

# Registers a revision that runs version $1 of the image, from the JSON file; prints its ARN.
register_revision() {
    local account file
    account=$(value sts get-caller-identity --query Account)
    file=$(mktemp)
    sed -e "s|@APP@|$APP|g" -e "s|@REGION@|$REGION|g" -e "s|@IMAGE@|$(repository_uri):$1|g" \
        -e "s|@EXECUTION_ROLE@|arn:aws:iam::$account:role/$APP-execution|g" \
        -e "s|@TASK_ROLE@|arn:aws:iam::$account:role/$APP-task|g" "$here/aws/task-definition.json" > "$file"
    value ecs register-task-definition --cli-input-json "file://$file" --query taskDefinition.taskDefinitionArn
    rm -f "$file"
}

# The service's events, oldest first.
events() {
    aws ecs describe-services --cluster "$APP" --services "$APP" --output text \
        --query 'reverse(services[0].events)[].[message]'
}
event_count() { events | grep -c . || true; }

# Waits until the service is stable, showing the events that follow event number $1.
follow_service() {
    local seen=${1:-0} state
    for _ in $(seq 1 120); do
        state=$(value ecs describe-services --cluster "$APP" --services "$APP" \
            --query 'services[0].[length(deployments), deployments[0].rolloutState, desiredCount == runningCount]')
        while read -r event; do
            [ -z "$event" ] || { say "$dim$event$plain"; seen=$((seen + 1)); }
        done < <(events | tail -n "+$((seen + 1))")
        [ "$state" = "1"$'\t'"COMPLETED"$'\t'"True" ] && break
        sleep 0.5
    done
    aws ecs wait services-stable --cluster "$APP" --services "$APP"
}
