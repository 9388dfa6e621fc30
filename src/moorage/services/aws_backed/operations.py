"""Which services moto answers for us, under which of its names, and which operations change something.

Only tables and pure functions; both sides of the socket use them.
"""

from __future__ import annotations

import re

# botocore's service name → moto's package. What is missing is either Moorage's own or refused by name.
MOTO_SERVICES: dict[str, str] = {
    "acm": "acm",
    "acm-pca": "acmpca",
    "apigateway": "apigateway",
    "apigatewayv2": "apigatewayv2",
    "appconfig": "appconfig",
    "application-autoscaling": "applicationautoscaling",
    "appmesh": "appmesh",
    "athena": "athena",
    "autoscaling": "autoscaling",
    "backup": "backup",
    "batch": "batch",
    "cloudformation": "cloudformation",
    "cloudfront": "cloudfront",
    "cloudtrail": "cloudtrail",
    "cloudwatch": "cloudwatch",
    "codebuild": "codebuild",
    "codecommit": "codecommit",
    "codedeploy": "codedeploy",
    "codepipeline": "codepipeline",
    "cognito-identity": "cognitoidentity",
    "cognito-idp": "cognitoidp",
    "config": "config",
    "dynamodb": "dynamodb",
    "dynamodbstreams": "dynamodbstreams",
    "ec2": "ec2",
    "efs": "efs",
    "elasticache": "elasticache",
    "events": "events",
    "firehose": "firehose",
    "glue": "glue",
    "guardduty": "guardduty",
    "iam": "iam",
    "inspector2": "inspector2",
    "kinesis": "kinesis",
    "kms": "kms",
    "lambda": "awslambda",
    "memorydb": "memorydb",
    "opensearch": "opensearch",
    "organizations": "organizations",
    "pipes": "pipes",
    "ram": "ram",
    "rds": "rds",
    "redshift": "redshift",
    "resource-groups": "resourcegroups",
    "resourcegroupstaggingapi": "resourcegroupstaggingapi",
    "route53": "route53",
    "route53resolver": "route53resolver",
    "s3": "s3",
    "s3control": "s3control",
    "scheduler": "scheduler",
    "secretsmanager": "secretsmanager",
    "service-quotas": "servicequotas",
    "servicediscovery": "servicediscovery",
    "ses": "ses",
    "sesv2": "sesv2",
    "shield": "shield",
    "signer": "signer",
    "sns": "sns",
    "sqs": "sqs",
    "ssm": "ssm",
    "stepfunctions": "stepfunctions",
    "sts": "sts",
    "support": "support",
    "synthetics": "synthetics",
    "transfer": "transfer",
    "wafv2": "wafv2",
    "xray": "xray",
}

_READ_PREFIXES = ("Describe", "List", "Get", "Head", "BatchGet", "Lookup", "Search", "Validate", "Check", "Estimate")
_READS = frozenset(
    {
        ("dynamodb", "Query"),
        ("dynamodb", "Scan"),
        ("dynamodb", "TransactGetItems"),
        ("sts", "DecodeAuthorizationMessage"),
        ("kms", "Decrypt"),
        ("kms", "Encrypt"),
        ("kms", "GenerateRandom"),
        ("kms", "GenerateDataKey"),
        ("kms", "GenerateDataKeyWithoutPlaintext"),
        ("kms", "ReEncrypt"),
        ("kms", "Sign"),
        ("kms", "Verify"),
        ("iam", "SimulateCustomPolicy"),
        ("iam", "SimulatePrincipalPolicy"),
        ("s3", "SelectObjectContent"),
        ("apigateway", "TestInvokeMethod"),
        ("events", "TestEventPattern"),
    }
)
# Look like reads, and make what they do not find.
_WRITES = frozenset(
    {
        ("iam", "GenerateCredentialReport"),
        ("kms", "GetParametersForImport"),
        ("ssm", "GetCommandInvocation"),
        ("kinesis", "GetShardIterator"),
        ("dynamodbstreams", "GetShardIterator"),
        ("sts", "GetSessionToken"),
        ("sts", "GetFederationToken"),
        ("cognito-identity", "GetId"),
    }
)
# A refusal of these changes nothing, and they are called often enough that it matters.
_REFUSES_CLEANLY = frozenset({"dynamodb", "sqs", "s3"})

# moto's S3 tells operations apart by query parameters and takes those it does not know for something else.
_NOT_IN_S3 = re.compile(
    "Abac|Analytics|Annotation|BucketMetadata|CreateSession|IntelligentTiering|"
    "MetricsConfiguration|PutBucketRequestPayment|RenameObject|Torrent|UpdateObjectEncryption|WriteGetObjectResponse"
)


_ONLY_KEPT = "functions are kept and read back, but not executed yet"
_NOT_EXECUTED = {
    ("lambda", "Invoke"): _ONLY_KEPT,
    ("lambda", "InvokeAsync"): _ONLY_KEPT,
    ("lambda", "InvokeWithResponseStream"): _ONLY_KEPT,
    ("apigateway", "TestInvokeMethod"): "APIs are kept and read back, but not served yet",
}


def known_missing(service: str, operation: str) -> str | None:
    """Why an operation is refused that moto would answer wrongly, or by pretending; None for all others."""
    if service == "s3" and _NOT_IN_S3.search(operation):
        return "it is not implemented by the embedded AWS services"
    return _NOT_EXECUTED.get((service, operation))


def changes_state(service: str, operation: str, method: str) -> bool:
    """False only for what is known to read: everything else goes into the journal."""
    name = (service, operation)
    if name in _WRITES:
        return True
    if not operation:
        return method not in ("GET", "HEAD", "OPTIONS")
    return name not in _READS and not operation.startswith(_READ_PREFIXES)


def belongs_in_journal(service: str, status: int) -> bool:
    """Whether a changing request that was answered with `status` may have changed anything."""
    return status < 400 or service not in _REFUSES_CLEANLY
