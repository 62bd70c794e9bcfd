"""deploy/aws/region.yaml makes the region that `situs region provision` makes.

moto 5.2.5 makes a template's buckets without their versioning, lock and public access block, and
leaves bucket policies out; provisioning adds what it sees is missing. `complete` does with the
buckets' own properties, resolved, what CloudFormation does with them. The policies are evaluated by
`tests.storage.iam`: moto takes no notice of conditions.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import boto3
import pytest
import yaml  # type: ignore[import-untyped]

from storage.proof import MARKER
from storage.provision import check, provision
from storage.region import KmsSettings, RegionSettings, RegionStore
from tests.engines import IRELAND, EngineKind, Settle, keys_of
from tests.faults import FaultProxy, Request
from tests.gateway.deployments import situs
from tests.storage.iam import Attempt, allowed

TEMPLATE: Final = Path(__file__).parents[2] / "deploy" / "aws" / "region.yaml"
ACCOUNT: Final = "123456789012"
INGRESS_HOST: Final = f"arn:aws:iam::{ACCOUNT}:role/mail-host"
GATEWAY_HOST: Final = f"arn:aws:iam::{ACCOUNT}:role/gateway-host"
ADMINISTRATOR: Final = f"arn:aws:iam::{ACCOUNT}:role/administrator"
STRANGER: Final = f"arn:aws:iam::{ACCOUNT}:role/stranger"
EVERYTHING: Final = {"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}


def test_cfn_lint_finds_nothing() -> None:
    lint = subprocess.run(
        [
            Path(sys.executable).with_name("cfn-lint"),
            "--regions",
            "eu-west-1",
            "us-east-1",
            "--",
            str(TEMPLATE),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (lint.returncode, lint.stdout) == (0, "")


@dataclass(frozen=True)
class Stack:
    """The template as moto has made it: names, ARNs and policies resolved."""

    settings: RegionSettings
    outputs: Mapping[str, str]
    policies: Mapping[str, Any]  # of the two roles, the two buckets and the key

    def may(self, who: str, action: str, resource: str, **context: str) -> bool:
        """Whether a role may do something; whoever is none of ours is given every right of his own."""
        own = {
            self.outputs["IngressRoleArn"]: [self.policies["ingress"]],
            self.outputs["GatewayRoleArn"]: [self.policies["gateway"]],
        }.get(who, [EVERYTHING])
        on = [self.policies["mail"], self.policies["audit"]] if action.startswith("s3:") else []
        on += [self.policies["key"]] if action.startswith("kms:") else []
        renamed = {name.replace("__", ":"): value for name, value in context.items()}
        return allowed(Attempt(who, action, resource, renamed), own, on)


@pytest.fixture(params=[True], ids=["complete"])
def stack(settle: Settle, request: pytest.FixtureRequest) -> Stack:
    settings = settle(EngineKind.MOTO, IRELAND)
    keys = keys_of(settings)
    session = boto3.session.Session(
        keys.access_key_id, keys.secret_access_key, region_name=str(settings.region.code)
    )

    def client(service: str) -> Any:
        return session.client(service, endpoint_url=settings.endpoint)  # type: ignore[call-overload]

    name = f"s{settings.bucket[6:18]}"
    parameters: dict[str, Any] = {
        "Deployment": name,
        "IngressPrincipals": [INGRESS_HOST],
        "GatewayPrincipals": [GATEWAY_HOST, f"{GATEWAY_HOST}-2"],
        "AdministratorArn": ADMINISTRATOR,
        "AuditRetentionDays": 1,
    }
    formation = client("cloudformation")
    formation.create_stack(
        StackName=name,
        TemplateBody=TEMPLATE.read_text(),
        Capabilities=["CAPABILITY_IAM"],
        Parameters=[
            {
                "ParameterKey": key,
                "ParameterValue": ",".join(value) if isinstance(value, list) else str(value),
            }
            for key, value in parameters.items()
        ],
    )
    [made] = formation.describe_stacks(StackName=name)["Stacks"]
    assert made["StackStatus"] == "CREATE_COMPLETE"
    outputs = {output["OutputKey"]: output["OutputValue"] for output in made["Outputs"]}
    known = parameters | {
        "AWS::Region": str(settings.region.code),
        "AWS::AccountId": ACCOUNT,
        "AWS::Partition": "aws",
        "MailBucket": outputs["MailBucketName"],
        "AuditBucket": outputs["AuditBucketName"],
        "MailBucket.Arn": f"arn:aws:s3:::{outputs['MailBucketName']}",
        "AuditBucket.Arn": f"arn:aws:s3:::{outputs['AuditBucketName']}",
        "IngressRole.Arn": outputs["IngressRoleArn"],
        "GatewayRole.Arn": outputs["GatewayRoleArn"],
        "Key": outputs["KeyArn"].rpartition("/")[2],
        "Key.Arn": outputs["KeyArn"],
    }
    template = resolved(yaml.load(TEMPLATE.read_text(), _Loader), known)
    resources = {name: resource["Properties"] for name, resource in template["Resources"].items()}
    if request.param:
        complete(client("s3"), template)
    key_policy = json.loads(resources["Key"]["KeyPolicy"])
    return Stack(
        settings=replace(
            settings,
            bucket=outputs["MailBucketName"],
            audit_bucket=outputs["AuditBucketName"],
            key_service=KmsSettings(outputs["KeyArn"], settings.endpoint),
        ),
        outputs=outputs,
        policies={
            "ingress": resources["IngressRole"]["Policies"][0]["PolicyDocument"],
            "gateway": resources["GatewayRole"]["Policies"][0]["PolicyDocument"],
            "mail": resources["MailBucketPolicy"]["PolicyDocument"],
            "audit": resources["AuditBucketPolicy"]["PolicyDocument"],
            "key": key_policy,
        },
    )


def complete(client: Any, template: Mapping[str, Any]) -> None:
    """What CloudFormation makes of these resources, and moto leaves out."""
    for resource in template["Resources"].values():
        properties = resource["Properties"]
        if resource["Type"] == "AWS::S3::Bucket":
            name = properties["BucketName"]
            client.put_bucket_versioning(
                Bucket=name, VersioningConfiguration=properties["VersioningConfiguration"]
            )
            assert properties["ObjectLockEnabled"] is True
            lock = properties.get("ObjectLockConfiguration", {"ObjectLockEnabled": "Enabled"})
            client.put_object_lock_configuration(Bucket=name, ObjectLockConfiguration=lock)
            client.put_public_access_block(
                Bucket=name, PublicAccessBlockConfiguration=properties["PublicAccessBlockConfiguration"]
            )
            assert "ReplicationConfiguration" not in properties


@dataclass(frozen=True)
class Intrinsic:
    """`!Ref X`, `!Sub "..."` or `!GetAtt X.Y`, not computed yet."""

    function: str
    argument: str


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    pass


_Loader.add_multi_constructor("!", lambda loader, name, node: Intrinsic(name, loader.construct_scalar(node)))


def resolved(value: Any, known: Mapping[str, Any]) -> Any:
    """The template with its functions computed; `known` has `X` for a Ref and `X.Y` for a GetAtt."""
    match value:
        case Intrinsic("Ref" | "GetAtt", name):
            return known[name]
        case Intrinsic("Sub", text):
            return re.sub(r"\$\{([^}]+)\}", lambda found: str(known[found.group(1)]), text)
        case dict():
            return {key: resolved(one, known) for key, one in value.items()}
        case list():
            return [resolved(one, known) for one in value]
        case _:
            return value


@pytest.mark.parametrize("stack", [False], indirect=True, ids=["as moto makes it"])
async def test_the_check_passes_on_a_stack_that_was_provisioned(stack: Stack, tmp_path: Path) -> None:
    """The two steps of deploy/README.md as they are given, and the third that says so."""
    region = stack.settings.region
    config = tmp_path / "situs.toml"
    config.write_text(_configuration(stack))
    before = await asyncio.to_thread(situs, config, "region", "check")
    assert before.status == 1
    assert f"marker: no {MARKER}, expected one made by `{stack.outputs['NextStep']}`" in before.out
    made = await asyncio.to_thread(situs, config, *stack.outputs["NextStep"].split(" ")[1:])
    assert made.status == 0, made.err
    after = await asyncio.to_thread(situs, config, "region", "check", "--json")
    assert (after.status, after.json()[str(region.code)]["ok"]) == (0, True)


def _configuration(stack: Stack) -> str:
    settings, keys = stack.settings, keys_of(stack.settings)
    return f"""
deployment = "test"
serves = ["{settings.region.code}"]
provider_entities = ["IE"]
directory = {{ key_file = "d.key", registrar = "{settings.region.code}", reads = "{settings.region.code}" }}
law = {{ trust = "trust" }}
gateway = {{ listen = "127.0.0.1:0", seat = "{settings.region.code}" }}
[regions.{settings.region.code}]
country = "{settings.region.country}"
endpoint = "{settings.endpoint}"
bucket = "{stack.outputs["MailBucketName"]}"
audit_bucket = "{stack.outputs["AuditBucketName"]}"
audit_retention_days = 1
access_key_id = "{keys.access_key_id}"
secret_access_key = "{keys.secret_access_key}"
keys = {{ service = "kms", key_id = "{stack.outputs["KeyArn"]}", endpoint = "{settings.endpoint}" }}
audit = {{ signing_key_file = "a.key", pseudonym_key_file = "p.key" }}
"""


async def test_a_stack_lacks_the_marker_and_the_keyring_alone(stack: Stack) -> None:
    failed = [line.name for line in await check(stack.settings, "test") if not line.ok]
    assert failed == [
        f"bucket {stack.settings.bucket}: marker",
        f"audit_bucket {stack.settings.audit_bucket}: marker",
    ]
    async with FaultProxy(stack.settings.endpoint) as proxy:
        await provision(replace(stack.settings, endpoint=proxy.endpoint), "test")
    assert sorted((one.method, one.key) for one in proxy.writes()) == [
        ("PUT", "situs/keys.json"),
        ("PUT", MARKER),
        ("PUT", MARKER),
    ]
    assert all(line.ok for line in await check(stack.settings, "test"))
    store = await RegionStore.open(stack.settings, "test")
    assert store.keys.key_id == stack.outputs["KeyArn"]


# What S3 asks for, by method and subresource (Service Authorization Reference, "Amazon S3").
OF_A_BUCKET: Final = {
    ("HEAD", ""): "s3:ListBucket",
    ("GET", "list-type"): "s3:ListBucket",
    ("GET", "location"): "s3:GetBucketLocation",
    ("GET", "object-lock"): "s3:GetBucketObjectLockConfiguration",
    ("GET", "publicAccessBlock"): "s3:GetBucketPublicAccessBlock",
    ("GET", "replication"): "s3:GetReplicationConfiguration",
    ("GET", "versioning"): "s3:GetBucketVersioning",
}
OF_AN_OBJECT: Final = {"GET": "s3:GetObject", "PUT": "s3:PutObject"}


def attempted(request: Request) -> list[tuple[str, str]]:
    """The actions and resources that S3 would ask the policies about."""
    bucket = f"arn:aws:s3:::{request.bucket}"
    if not request.key:
        return [(OF_A_BUCKET[request.method, request.query.partition("=")[0]], bucket)]
    actions = [OF_AN_OBJECT[request.method]]
    if "x-amz-object-lock-legal-hold" in request.headers:
        actions.append("s3:PutObjectLegalHold")
    return [(action, f"{bucket}/{request.key}") for action in actions]


async def test_each_role_is_enough_for_what_its_host_does(stack: Stack) -> None:
    """The gateway's host provisions, checks and opens; the mail host opens without keys, and puts."""
    gateway, ingress = stack.outputs["GatewayRoleArn"], stack.outputs["IngressRoleArn"]
    async with FaultProxy(stack.settings.endpoint) as proxy:
        settings = replace(stack.settings, endpoint=proxy.endpoint)
        await provision(settings, "test")
        assert all(line.ok for line in await check(settings, "test"))
        store = await RegionStore.open(settings, "test")
        await store.audit.compare_and_swap("log/lock", b"first", None)
        as_gateway = list(proxy.requests)
        store = await RegionStore.open(replace(settings, key_service=None), "test")
        await store.mail.put_if_absent("mail/a/1", b"sealed", fresh_key=True)
        await store.mail.put_if_absent("mail/a/2", b"sealed", legal_hold=True, fresh_key=True)
        as_ingress = proxy.requests[len(as_gateway) :]
    for role, requests in ((gateway, as_gateway), (ingress, as_ingress)):
        for action, resource in (pair for request in requests for pair in attempted(request)):
            assert stack.may(role, action, resource), (role, action, resource)
    assert len(as_gateway) > len(as_ingress) > 10


def test_ingress_puts_mail_and_reads_none(stack: Stack) -> None:
    ingress = stack.outputs["IngressRoleArn"]
    mail = f"arn:aws:s3:::{stack.settings.bucket}"
    audit = f"arn:aws:s3:::{stack.settings.audit_bucket}"
    assert stack.may(ingress, "s3:PutObject", f"{mail}/mail/a/1")
    assert stack.may(ingress, "s3:PutObjectLegalHold", f"{mail}/mail/a/1")
    assert stack.may(ingress, "s3:GetObject", f"{mail}/directory/0")
    assert stack.may(ingress, "s3:GetObject", f"{mail}/situs/region.json")
    for action, resource in (
        ("s3:GetObject", f"{mail}/mail/a/1"),
        ("s3:GetObjectVersion", f"{mail}/mail/a/1"),
        ("s3:DeleteObject", f"{mail}/mail/a/1"),
        ("s3:DeleteObjectVersion", f"{mail}/mail/a/1"),
        ("s3:PutObject", f"{mail}/accounts/a/keys.json"),
        ("s3:PutObject", f"{mail}/directory/0"),
        ("s3:GetObject", f"{mail}/accounts/a/keys.json"),
        ("s3:PutObject", f"{audit}/log/checkpoint"),
        ("s3:PutBucketPolicy", mail),
    ):
        assert not stack.may(ingress, action, resource), (action, resource)
    for action in ("kms:Decrypt", "kms:Encrypt", "kms:DescribeKey", "kms:PutKeyPolicy"):
        assert not stack.may(ingress, action, "*", kms__EncryptionContext__region="eu-west-1")


def test_the_gateway_reads_mail_and_only_appends_to_the_log(stack: Stack) -> None:
    gateway = stack.outputs["GatewayRoleArn"]
    mail = f"arn:aws:s3:::{stack.settings.bucket}"
    audit = f"arn:aws:s3:::{stack.settings.audit_bucket}"
    for action in ("GetObject", "PutObject", "DeleteObjectVersion", "PutObjectLegalHold"):
        assert stack.may(gateway, f"s3:{action}", f"{mail}/mail/a/1")
    assert stack.may(gateway, "s3:ListBucketVersions", mail)
    assert stack.may(gateway, "s3:PutObject", f"{audit}/log/checkpoint")
    assert stack.may(gateway, "s3:GetObject", f"{audit}/log/checkpoint")
    for action in ("DeleteObject", "DeleteObjectVersion", "BypassGovernanceRetention"):
        assert not stack.may(gateway, f"s3:{action}", f"{audit}/log/checkpoint")
    here, abroad = "eu-west-1", "us-east-1"
    assert stack.may(gateway, "kms:Decrypt", "*", kms__EncryptionContext__region=here)
    assert not stack.may(gateway, "kms:Decrypt", "*", kms__EncryptionContext__region=abroad)
    assert not stack.may(gateway, "kms:Decrypt", "*")
    assert not stack.may(gateway, "kms:ReplicateKey", "*")


@pytest.mark.parametrize("who", [ADMINISTRATOR, STRANGER])
def test_whoever_is_neither_role_reads_and_writes_nothing_with_every_right_of_his_own(
    stack: Stack, who: str
) -> None:
    for name in (stack.settings.bucket, stack.settings.audit_bucket):
        bucket = f"arn:aws:s3:::{name}"
        for action in ("GetObject", "GetObjectVersion", "PutObject", "DeleteObjectVersion"):
            assert not stack.may(who, f"s3:{action}", f"{bucket}/mail/a/1")
        for action in ("ListBucket", "ListBucketVersions", "DeleteBucket"):
            assert not stack.may(who, f"s3:{action}", bucket)
        may_set = who == ADMINISTRATOR
        assert stack.may(who, "s3:PutBucketPolicy", bucket) is may_set
        assert stack.may(who, "s3:GetBucketVersioning", bucket) is may_set


def test_nobody_deletes_from_the_log_replicates_or_speaks_in_the_clear(stack: Stack) -> None:
    roles = (stack.outputs["IngressRoleArn"], stack.outputs["GatewayRoleArn"], ADMINISTRATOR, STRANGER)
    for who in roles:
        for name in (stack.settings.bucket, stack.settings.audit_bucket):
            bucket = f"arn:aws:s3:::{name}"
            assert not stack.may(who, "s3:PutReplicationConfiguration", bucket)
            assert not stack.may(who, "s3:ReplicateObject", f"{bucket}/mail/a/1")
            assert not stack.may(
                who, "s3:GetObject", f"{bucket}/situs/region.json", aws__SecureTransport="false"
            )
        audit = f"arn:aws:s3:::{stack.settings.audit_bucket}"
        assert not stack.may(who, "s3:DeleteObjectVersion", f"{audit}/log/checkpoint")
        assert not stack.may(who, "s3:PutLifecycleConfiguration", audit)
        assert not stack.may(who, "kms:ReplicateKey", "*")
