"""EC2 as the program needs it: the limit on user data, the public GPU images, instances as their template says, lists
in pages.

Owns what differs from moto's EC2. Leaves launching for groups to `gpufleet.emulator.autoscaling`.
"""

from __future__ import annotations

import base64
import binascii
from inspect import signature
from typing import Any

from moto.core.responses import ActionResult
from moto.ec2 import urls
from moto.ec2.exceptions import InvalidParameterValue
from moto.ec2.models import EC2Backend, ec2_backends, launch_templates, security_groups
from moto.ec2.models.amis import Ami
from moto.ec2.models.security_groups import SecurityGroupRule
from moto.ec2.responses import EC2Response
from moto.ec2.utils import parse_user_data

from gpufleet.emulator.ssm import PUBLIC_IMAGES

USER_DATA_LIMIT_BYTES = 16384
"""The most user data that EC2 takes, before base64 (EC2 User Guide, "Run commands at launch")."""


def check_user_data(encoded: str | None) -> None:
    """Refuse user data that is not base64 or is too large, in EC2's words."""
    if not encoded:
        return
    try:
        decoded = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        raise InvalidParameterValue("Invalid BASE64 encoding of user data.") from None
    if len(decoded) > USER_DATA_LIMIT_BYTES:
        raise InvalidParameterValue(f"User data is limited to {USER_DATA_LIMIT_BYTES} bytes")


class Rule(SecurityGroupRule):
    """A security group rule that keeps its description whatever it points at."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        prefix_list = signature(SecurityGroupRule).bind(*args, **kwargs).arguments.get("prefix_list_id")
        self._prefix_list_description = (prefix_list or {}).get("Description")

    @property
    def description(self) -> str | None:
        return self.ip_range.get("Description") or self.source_group.get("Description") or self._prefix_list_description

    def change(self, request: dict[str, Any], account: str) -> None:
        """What ModifySecurityGroupRules asks for; the whole rule is given each time, as with AWS."""
        described = {"Description": request["Description"]} if request.get("Description") else {}
        self.ip_protocol, self.from_port, self.to_port = request["IpProtocol"], request["FromPort"], request["ToPort"]
        self.ip_range, self.source_group, self.prefix_list_id = {}, {}, request.get("PrefixListId")
        self._prefix_list_description = described.get("Description") if self.prefix_list_id else None
        if group := request.get("ReferencedGroupId"):
            self.source_group = {"GroupId": group, "UserId": account, "OwnerId": account, **described}
        for ours, theirs in (("CidrIp", "CidrIpv4"), ("CidrIpv6", "CidrIpv6")):
            if theirs in request:
                self.ip_range = {ours: request[theirs], **described}


class Template(launch_templates.LaunchTemplate):
    """A launch template whose own tags can be changed; moto keeps those that it was made with."""

    @property
    def tags(self) -> list[dict[str, str]]:
        return self.get_tags()

    @tags.setter
    def tags(self, _: list[dict[str, str]]) -> None:
        """They are kept with those of every resource."""


class Backend(EC2Backend):
    """Moto's EC2 of one region, with the public GPU images and rules that can be changed to anything."""

    _url_module = urls

    def _load_amis(self) -> None:
        super()._load_amis()
        for image in PUBLIC_IMAGES:
            image_id = image.image_id(self.region_name)
            self.amis[image_id] = Ami(
                self,
                image_id,
                name=image.name,
                owner_id="898082745236",
                owner_alias="amazon",
                public=True,
                virtualization_type="hvm",
                architecture=image.architecture,
                hypervisor="xen",
                root_device_type="ebs",
                root_device_name=image.root_device,
            )

    def delete_nat_gateway(self, nat_gateway_id: str) -> Any:
        gateway = super().delete_nat_gateway(nat_gateway_id)
        self.enis.pop(gateway._eni.id, None)  # moto leaves it
        return gateway

    def terminate_instances(self, instance_ids: list[str]) -> Any:
        for instance in self.get_multi_instances_by_id(instance_ids):
            if primary := instance.nics.get(0):
                primary.delete_on_termination = True  # a primary interface goes with its instance; moto keeps it
        return super().terminate_instances(instance_ids)

    def modify_security_group_rules(self, group_id: str, rules: dict[str, dict[str, Any]]) -> None:
        super().modify_security_group_rules(group_id, rules)  # the checks
        group = self.get_security_group_by_name_or_id(group_id)
        for rule_id, request in rules.items():
            rule = group.get_rule(rule_id) if group else None
            assert isinstance(rule, Rule)
            rule.change(request, self.account_id)


class Response(EC2Response):
    """Moto's EC2 API with the checks that it leaves out."""

    def describe_instance_types(self) -> ActionResult:
        return self._page(super().describe_instance_types(), "InstanceTypes")

    def describe_instance_type_offerings(self) -> ActionResult:
        return self._page(super().describe_instance_type_offerings(), "InstanceTypeOfferings")

    def describe_spot_price_history(self) -> ActionResult:
        return self._page(super().describe_spot_price_history(), "SpotPriceHistory")

    def _page(self, whole: ActionResult, key: str) -> ActionResult:
        """What MaxResults and NextToken ask for of a list that moto answers whole."""
        assert isinstance(whole.result, dict)
        answers, first = whole.result[key], int(self._get_param("NextToken") or 0)
        end = first + (self._get_int_param("MaxResults") or len(answers))
        following = {"NextToken": str(end)} if end < len(answers) else {}
        return ActionResult({key: answers[first:end], **following})

    def create_launch_template(self) -> ActionResult:
        check_user_data(self._get_param("LaunchTemplateData.UserData"))
        result = super().create_launch_template()
        template = self.ec2_backend.get_launch_template_by_name(self._get_param("LaunchTemplateName"))
        template.versions[0].data = _own_data(template.versions[0].data)
        return result

    def create_launch_template_version(self) -> ActionResult:
        check_user_data(self._get_param("LaunchTemplateData.UserData"))
        result = super().create_launch_template_version()
        name, template_id = self._get_param("LaunchTemplateName"), self._get_param("LaunchTemplateId")
        find = self.ec2_backend.get_launch_template_by_name if name else self.ec2_backend.get_launch_template
        template = find(name or template_id)
        version, source = template.latest_version(), self._get_param("SourceVersion")
        version.data["UserData"] = parse_user_data(version.data.get("UserData"))
        inherited = template.get_version(source).data if source else {}
        version.data = inherited | _own_data(version.data)
        return result

    def run_instances(self) -> Any:
        check_user_data(self._get_param("UserData"))
        return super().run_instances()


def _own_data(data: dict[str, Any]) -> dict[str, Any]:
    """A version's data without the tags of the template itself, which moto mixes in, and without empty entries."""
    tags = [t for t in data.get("TagSpecifications", []) if t["ResourceType"] != "launch-template"]
    return {key: value for key, value in {**data, "TagSpecifications": tags}.items() if value not in (None, [])}


def install() -> None:
    """Put these in the place of moto's."""
    security_groups.SecurityGroupRule = Rule  # type: ignore[misc]
    launch_templates.LaunchTemplate = Template  # type: ignore[misc]
    ec2_backends.backend = Backend
    urls.url_paths = {"{0}/": Response.dispatch}
