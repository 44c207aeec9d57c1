"""The paginators of boto3: every page once, every resource once."""

from simulator import ZONE, Contract

COUNT = 12


class Pages(Contract):
    def walk(self, operation, key, page_size=5, **parameters):
        """All items over all pages, and how many pages there were."""
        pages = list(self.ec2.get_paginator(operation).paginate(PaginationConfig={"PageSize": page_size}, **parameters))
        return [item for page in pages for item in page[key]], len(pages)

    def test_volumes_their_statuses_and_tags_come_page_by_page(self):
        specification = [{"ResourceType": "volume", "Tags": [{"Key": "owner", "Value": "mine"}]}]
        made = {self.volume(TagSpecifications=specification) for _ in range(COUNT)}
        for operation, key, name in [
            ("describe_volumes", "Volumes", "VolumeId"),
            ("describe_volume_status", "VolumeStatuses", "VolumeId"),
            ("describe_tags", "Tags", "ResourceId"),
        ]:
            with self.subTest(operation=operation):
                found, pages = self.walk(operation, key)
                self.assertEqual((len(found), pages), (COUNT, 3))
                self.assertEqual({one[name] for one in found}, made)

    def test_pages_of_a_filtered_list_hold_what_the_filter_chooses(self):
        for number in range(COUNT):
            self.volume(Size=1 + number % 2)
        found, _ = self.walk("describe_volumes", "Volumes", Filters=[{"Name": "size", "Values": ["2"]}])
        self.assertEqual([one["Size"] for one in found], [2] * (COUNT // 2))

    def test_snapshots_come_page_by_page(self):
        made = {self.snapshot() for _ in range(COUNT)}
        found, pages = self.walk("describe_snapshots", "Snapshots", OwnerIds=["self"])
        self.assertEqual(({one["SnapshotId"] for one in found}, len(found), pages), (made, COUNT, 3))

    def test_instances_and_types_come_page_by_page(self):
        placement = {"AvailabilityZone": ZONE}
        launched = self.ec2.run_instances(MinCount=COUNT, MaxCount=COUNT, InstanceType="m7i.large", Placement=placement)["Instances"]
        found, pages = self.walk("describe_instances", "Reservations")
        seen = [one["InstanceId"] for reservation in found for one in reservation["Instances"]]
        self.assertEqual((sorted(seen), pages), (sorted(one["InstanceId"] for one in launched), 3))
        types, _ = self.walk("describe_instance_types", "InstanceTypes")
        self.assertEqual(len({one["InstanceType"] for one in types}), len(types))

    def test_modifications_and_fast_restores_come_page_by_page(self):
        volumes = [self.volume() for _ in range(COUNT)]
        for volume in volumes:
            self.ec2.modify_volume(VolumeId=volume, Size=2)
        found, pages = self.walk("describe_volumes_modifications", "VolumesModifications")
        self.assertEqual(({one["VolumeId"] for one in found}, pages), (set(volumes), 3))
        zones = ["us-east-1a", "us-east-1b"]
        for _ in range(3):
            self.ec2.enable_fast_snapshot_restores(AvailabilityZones=zones, SourceSnapshotIds=[self.snapshot()])
        found, pages = self.walk("describe_fast_snapshot_restores", "FastSnapshotRestores")
        self.assertEqual((len({(one["SnapshotId"], one["AvailabilityZone"]) for one in found}), pages), (6, 2))

    def test_page_sizes_have_a_least_and_exclude_ids(self):
        volume = self.volume()
        self.refused("InvalidParameterValue", self.ec2.describe_volumes, MaxResults=4)
        self.refused("InvalidParameterCombination", self.ec2.describe_volumes, MaxResults=5, VolumeIds=[volume])
        self.refused("InvalidPaginationToken", self.ec2.describe_volumes, MaxResults=5, NextToken="nonsense")
