"""Tags: set with a creation and later, listed, removed, and their rules."""

from simulator import ZONE, Contract


def tags(count, key="k"):
    return [{"Key": f"{key}{number}", "Value": ""} for number in range(count)]


class Tags(Contract):
    def test_tags_are_set_listed_and_removed(self):
        volume, snapshot, instance = self.volume(), self.snapshot(), self.instance()
        self.ec2.create_tags(Resources=[volume, snapshot, instance], Tags=[{"Key": "owner", "Value": "mine"}])
        found = self.ec2.describe_tags(Filters=[{"Name": "key", "Values": ["owner"]}])["Tags"]
        self.assertEqual({one["ResourceId"]: one["ResourceType"] for one in found}, {volume: "volume", snapshot: "snapshot", instance: "instance"})
        self.ec2.delete_tags(Resources=[volume], Tags=[{"Key": "owner", "Value": "another"}])
        self.assertEqual(self.seen(volume)["Tags"], [{"Key": "owner", "Value": "mine"}], "the value must match too")
        self.ec2.delete_tags(Resources=[volume], Tags=[{"Key": "owner"}])
        self.assertNotIn("Tags", {name for name, value in self.seen(volume).items() if value})

    def test_a_resource_has_fifty_tags_at_most(self):
        volume = self.volume()
        self.ec2.create_tags(Resources=[volume], Tags=tags(50))
        self.refused("TagLimitExceeded", self.ec2.create_tags, Resources=[volume], Tags=tags(1, "more"))
        self.ec2.create_tags(Resources=[volume], Tags=[{"Key": "k0", "Value": "another"}])

    def test_the_prefix_of_aws_is_reserved(self):
        volume = self.volume()
        reserved = [{"Key": "aws:owner", "Value": "mine"}]
        self.refused("InvalidParameterValue", self.ec2.create_tags, Resources=[volume], Tags=reserved)
        specification = [{"ResourceType": "volume", "Tags": reserved}]
        self.refused("InvalidParameterValue", self.ec2.create_volume, Size=1, AvailabilityZone=ZONE, TagSpecifications=specification)
        self.assertEqual(len(self.ec2.describe_volumes()["Volumes"]), 1, "a volume is made with its tags or not at all")

    def test_a_call_tags_all_resources_or_none(self):
        volume = self.volume()
        wanted = {"Resources": [volume, "vol-0123456789abcdef0"], "Tags": tags(1)}
        self.refused("InvalidVolume.NotFound", self.ec2.create_tags, **wanted)
        self.assertFalse(self.seen(volume).get("Tags"))

    def test_a_snapshot_specification_does_not_fit_a_volume(self):
        specification = [{"ResourceType": "snapshot", "Tags": tags(1)}]
        self.refused("InvalidParameterValue", self.ec2.create_volume, Size=1, AvailabilityZone=ZONE, TagSpecifications=specification)
