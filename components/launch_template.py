"""How an instance of the fleet starts: image, disk, metadata service, network interface and user data.

Owns the launch template. Leaves the instance types to the fleet and the text of the user data to `templates`.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.tags import Tags
from gpufleet.planner.plan import DeploymentPlan, MachineImage

ROOT_DEVICE = "/dev/xvda"
"""Of Amazon Linux images."""

TAGGED_AT_LAUNCH = ("instance", "volume", "network-interface")


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchTemplateArgs:
    """The plan, what `templates` rendered from it, and what an instance is and may do."""

    plan: DeploymentPlan
    user_data: str
    instance_profile_name: pulumi.Input[str]
    security_group_id: pulumi.Input[str]
    tags: Tags


class LaunchTemplate(pulumi.ComponentResource):
    """The template of which the fleet names a numbered version. SDK properties typed as text take "true"."""

    template_id: pulumi.Output[str]
    version: pulumi.Output[str]
    """The latest number: a change of the template is a change of the group, which then refreshes its instances."""

    def __init__(self, name: str, args: LaunchTemplateArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("gpufleet:launch_template:LaunchTemplate", name, None, opts)
        template = aws.ec2.LaunchTemplate(
            f"{name}-template",
            description=_description(args.plan),
            image_id=_image_id(args.plan.machine_image),
            user_data=base64.b64encode(args.user_data.encode()).decode(),
            iam_instance_profile={"name": args.instance_profile_name},
            metadata_options={
                "http_endpoint": "enabled",
                "http_tokens": "required",
                # One hop: containers cannot take the instance's credentials.
                "http_put_response_hop_limit": 1,
            },
            network_interfaces=[
                {
                    "device_index": 0,
                    "associate_public_ip_address": "false",
                    "delete_on_termination": "true",
                    "security_groups": [args.security_group_id],
                }
            ],
            block_device_mappings=[
                {
                    "device_name": ROOT_DEVICE,
                    "ebs": {
                        "volume_type": "gp3",
                        "volume_size": args.plan.storage.root_volume_gib,
                        "throughput": args.plan.storage.root_throughput_mibs,
                        "iops": args.plan.storage.root_iops,
                        "encrypted": "true",
                        "delete_on_termination": "true",
                    },
                }
            ],
            ebs_optimized="true",
            monitoring={"enabled": True},
            update_default_version=True,
            tag_specifications=[
                {"resource_type": kind, "tags": args.tags.named("instance")} for kind in TAGGED_AT_LAUNCH
            ],
            tags=args.tags.named("template"),
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.template_id = template.id
        self.version = template.latest_version.apply(str)
        self.register_outputs({"templateId": self.template_id, "version": self.version})


def _image_id(image: MachineImage) -> str | None:
    """An id, which shows in a preview and can be gone back to, or the parameter for EC2 to read at each launch."""
    return f"resolve:ssm:{image.parameter}" if image.at_launch else image.id


def _description(plan: DeploymentPlan) -> str:
    """What a version serves, for the console's list of versions; EC2 takes 255 characters."""
    return f"{plan.model.id} {plan.model.precision}, {plan.server.engine} {plan.server.engine_version}"[:255]
