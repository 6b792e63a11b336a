"""Public SSM parameters for the GPU images that AWS publishes; moto knows those of ECS and plain Amazon Linux only.

Owns the names of the Deep Learning base images and, in `image_id`, the id that stands for each in a region. The
images themselves are added to EC2 by `gpufleet.emulator.ec2`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from moto.core.utils import utcnow
from moto.ssm import models

PREFIX = "/aws/service/deeplearning/ami"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicImage:
    """One published image: its parameter, and how EC2 describes it."""

    architecture: str
    variant: str
    root_device: str

    @property
    def parameter(self) -> str:
        """The parameter's name, as on docs.aws.amazon.com/dlami/latest/devguide (release notes of each image)."""
        return f"{PREFIX}/{self.architecture}/{self.variant}/latest/ami-id"

    @property
    def name(self) -> str:
        """A name in the manner of the published images."""
        return f"{self.variant}-{self.architecture} (emulated)"

    def image_id(self, region: str) -> str:
        """The id that this image has in a region of the emulator; always the same."""
        return "ami-" + hashlib.sha256(f"{region}{self.parameter}".encode()).hexdigest()[:17]


PUBLIC_IMAGES = tuple(
    PublicImage(architecture=architecture, variant=f"base-oss-nvidia-driver-gpu-{system}", root_device=root_device)
    for architecture in ("x86_64", "arm64")
    for system, root_device in (
        ("amazon-linux-2023", "/dev/xvda"),
        ("ubuntu-22.04", "/dev/sda1"),
        ("ubuntu-24.04", "/dev/sda1"),
    )
)


class Parameters(models.ParameterDict):
    """Moto's parameters, with the public images' loaded when one of them is first asked for."""

    def __init__(self, account_id: str, region_name: str) -> None:
        super().__init__(account_id, region_name)
        self._images_loaded = False

    def _check_loading_status(self, key: str) -> None:
        super()._check_loading_status(key)
        if str(key or "").startswith(PREFIX) and not self._images_loaded:
            self._images_loaded = True
            for image in PUBLIC_IMAGES:
                self[image.parameter].append(self._parameter(image))

    def _parameter(self, image: PublicImage) -> models.Parameter:
        return models.Parameter(  # type: ignore[abstract]
            account_id=self.account_id,
            name=image.parameter,
            value=image.image_id(self.region_name),
            parameter_type="String",
            description=None,
            allowed_pattern=None,
            keyid=None,
            last_modified_date=utcnow(),
            version=1,
            data_type="aws:ec2:image",
        )


def install() -> None:
    """Make moto's SSM use these parameters."""
    models.ParameterDict = Parameters  # type: ignore[misc]
