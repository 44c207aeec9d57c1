"""Who may call: signatures and the policies of access keys."""

import json
import pathlib
import tempfile

from simulator import ZONE, Contract

ADMIN, DRIVER = ("AKIAADMINISTRATOR", "secret/of+admin"), ("AKIADRIVER", "secret-of-driver")
ALLOW_ALL = {"Effect": "Allow", "Action": "*", "Resource": "*"}
#: As the policies of CSI drivers are: creations with the driver's tag, everything else on what has it.
DRIVER_POLICY = [
    {"Effect": "Allow", "Action": "ec2:Describe*", "Resource": "*"},
    {
        "Effect": "Allow",
        "Action": "ec2:CreateVolume",
        "Resource": "arn:aws:ec2:*:*:volume/*",
        "Condition": {"StringEquals": {"aws:RequestTag/owner": "driver"}},
    },
    {"Effect": "Allow", "Action": "ec2:CreateTags", "Resource": "*", "Condition": {"StringEquals": {"ec2:CreateAction": "CreateVolume"}}},
    {"Effect": "Allow", "Action": "ec2:DeleteVolume", "Resource": "*", "Condition": {"StringEquals": {"ec2:ResourceTag/owner": "driver"}}},
]


def key(identity, statements):
    policy = {"Version": "2012-10-17", "Statement": statements}
    return {"access-key-id": identity[0], "secret-access-key": identity[1], "policies": [policy]}


class Access(Contract):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        file = pathlib.Path(folder.name) / "credentials.json"
        file.write_text(json.dumps({"access-keys": [key(ADMIN, [ALLOW_ALL]), key(DRIVER, DRIVER_POLICY)]}))
        self.arguments = ("--credentials", str(file))
        super().setUp()
        self.admin, self.driver = (self.client(one) for one in (ADMIN, DRIVER))

    def client(self, identity):
        client = self.simulator.client(key=identity)
        self.addCleanup(client.close)
        return client

    def test_a_wrong_secret_and_an_unknown_key_are_refused(self):
        for identity in [(ADMIN[0], "another"), ("AKIANOBODY", ADMIN[1])]:
            self.refused("AuthFailure", self.client(identity).describe_volumes, status=401)
        self.assertEqual(self.admin.describe_volumes()["Volumes"], [])

    def test_a_driver_makes_and_deletes_what_has_its_tag_and_nothing_else(self):
        tags = [{"ResourceType": "volume", "Tags": [{"Key": "owner", "Value": "driver"}]}]
        wanted = {"Size": 1, "AvailabilityZone": ZONE}
        message = self.refused("UnauthorizedOperation", self.driver.create_volume, status=403, **wanted)
        self.assertIn("Encoded authorization failure message: ", message)
        own = self.driver.create_volume(**wanted, TagSpecifications=tags)["VolumeId"]
        foreign = self.admin.create_volume(**wanted)["VolumeId"]
        self.refused("UnauthorizedOperation", self.driver.delete_volume, status=403, VolumeId=foreign)
        self.refused("UnauthorizedOperation", self.driver.create_tags, status=403, Resources=[foreign], Tags=tags[0]["Tags"])
        self.refused("UnauthorizedOperation", self.driver.run_instances, status=403, MinCount=1, MaxCount=1)
        self.driver.delete_volume(VolumeId=own)
        self.assertEqual([one["VolumeId"] for one in self.admin.describe_volumes()["Volumes"]], [foreign])

    def test_a_dry_run_tells_what_may_be_done(self):
        wanted = {"Size": 1, "AvailabilityZone": ZONE, "DryRun": True}
        self.refused("UnauthorizedOperation", self.driver.create_volume, status=403, **wanted)
        self.refused("DryRunOperation", self.admin.create_volume, status=412, **wanted)
