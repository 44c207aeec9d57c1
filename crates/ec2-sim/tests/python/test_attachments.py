"""Attaching and detaching: the states in order, and every refusal."""

from simulator import DEVICE, NO_INSTANCE, NO_VOLUME, QUICKLY, Contract


class Attaching(Contract):
    profile = "fast"

    def test_the_states_come_in_order(self):
        volume, instance = self.volume(), self.instance()
        self.assertEqual(self.ec2.attach_volume(VolumeId=volume, InstanceId=instance, Device=DEVICE)["State"], "attaching")
        seen = self.seen(volume)
        self.assertEqual((seen["State"], seen["Attachments"][0]["State"]), ("in-use", "attaching"))
        self.ec2.get_waiter("volume_in_use").wait(VolumeIds=[volume], WaiterConfig=QUICKLY)
        states = self.states_until("attached", volume)
        self.assertLessEqual(states, {"attaching", "attached"})
        self.assertEqual(self.ec2.detach_volume(VolumeId=volume)["State"], "detaching")
        self.ec2.get_waiter("volume_available").wait(VolumeIds=[volume], WaiterConfig=QUICKLY)
        self.assertEqual(self.seen(volume)["Attachments"], [])

    def states_until(self, last, volume):
        """The attachment's states that are seen until the last one."""
        states = set()
        for _ in range(1_000):
            states.add(self.seen(volume)["Attachments"][0]["State"])
            if last in states:
                return states
        self.fail(f"{volume} is not {last} after 1000 looks: {states}")


class Refusals(Contract):
    def test_a_volume_is_attached_once(self):
        volume, first, second = self.volume(), self.instance(), self.instance()
        self.attach(volume, first)
        for instance in (first, second):
            message = self.refused("VolumeInUse", self.ec2.attach_volume, VolumeId=volume, InstanceId=instance, Device="/dev/xvdbb")
            self.assertIn("is already attached to an instance", message)
        self.assertEqual(self.seen(volume)["Attachments"][0]["InstanceId"], first)

    def test_a_device_name_is_used_once(self):
        instance = self.instance()
        self.attach(self.volume(), instance)
        wanted = {"VolumeId": self.volume(), "InstanceId": instance, "Device": DEVICE}
        message = self.refused("InvalidParameterValue", self.ec2.attach_volume, **wanted)
        self.assertIn(f"Attachment point {DEVICE} is already in use", message)

    def test_wrong_names_zones_and_ids_are_refused(self):
        volume, near, far = self.volume(), self.instance(), self.instance(zone="us-east-1b")
        table = [
            ("InvalidVolume.ZoneMismatch", volume, far, DEVICE),
            ("InvalidParameterValue", volume, near, "/dev/nvme1n1"),
            ("InvalidParameterValue", volume, near, "/dev/xvda"),
            ("InvalidVolume.NotFound", NO_VOLUME, near, DEVICE),
            ("InvalidInstanceID.NotFound", volume, NO_INSTANCE, DEVICE),
            ("InvalidInstanceID.Malformed", volume, "node-1", DEVICE),
        ]
        for code, wanted, instance, device in table:
            with self.subTest(code=code):
                self.refused(code, self.ec2.attach_volume, VolumeId=wanted, InstanceId=instance, Device=device)
        self.assertEqual(self.seen(volume)["State"], "available")

    def test_an_instance_holds_as_many_volumes_as_its_type_says(self):
        instance = self.instance("m5.large")
        limit = self.ec2.describe_instance_types(InstanceTypes=["m5.large"])["InstanceTypes"][0]["EbsInfo"]["MaximumEbsAttachments"]
        devices = (f"/dev/xvd{first}{last}" for first in "bc" for last in "abcdefghijklmnopqrstuvwxyz")
        for device in devices:
            try:
                self.ec2.attach_volume(VolumeId=self.volume(), InstanceId=instance, Device=device)
            except self.ec2.exceptions.ClientError as error:
                self.assertEqual(error.response["Error"]["Code"], "AttachmentLimitExceeded")
                break
        attached = self.ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]["BlockDeviceMappings"]
        self.assertLess(len(attached), limit, "the network interface takes one of the shared slots")
        self.assertGreater(len(attached), limit - 4)

    def test_what_is_not_attached_cannot_be_detached(self):
        volume, instance, other = self.volume(), self.instance(), self.instance()
        self.refused("IncorrectState", self.ec2.detach_volume, VolumeId=volume)
        self.attach(volume, instance)
        self.refused("InvalidAttachment.NotFound", self.ec2.detach_volume, VolumeId=volume, InstanceId=other)
        self.refused("InvalidVolume.NotFound", self.ec2.detach_volume, VolumeId=NO_VOLUME)
        self.assertEqual(self.ec2.detach_volume(VolumeId=volume, Force=True)["State"], "detaching")


class Instances(Contract):
    def test_an_instance_lives_from_launch_to_termination(self):
        volume, instance = self.volume(), self.instance()
        self.attach(volume, instance)
        waits = [("stop_instances", "instance_stopped"), ("start_instances", "instance_running"), ("terminate_instances", "instance_terminated")]
        for call, waiter in waits:
            changed = getattr(self.ec2, call)(InstanceIds=[instance])
            changes = changed.get("StoppingInstances") or changed.get("StartingInstances") or changed["TerminatingInstances"]
            self.assertEqual(changes[0]["InstanceId"], instance)
            self.ec2.get_waiter(waiter).wait(InstanceIds=[instance], WaiterConfig=QUICKLY)
        self.ec2.get_waiter("volume_available").wait(VolumeIds=[volume], WaiterConfig=QUICKLY)
        self.refused("IncorrectInstanceState", self.ec2.attach_volume, VolumeId=volume, InstanceId=instance, Device=DEVICE)

    def test_a_stopped_instance_keeps_its_volumes(self):
        volume, instance = self.volume(), self.instance()
        self.attach(volume, instance)
        self.ec2.stop_instances(InstanceIds=[instance])
        self.ec2.get_waiter("instance_stopped").wait(InstanceIds=[instance], WaiterConfig=QUICKLY)
        self.assertEqual(self.seen(volume)["Attachments"][0]["InstanceId"], instance)

    def test_unknown_instances_and_types_are_refused(self):
        self.refused("InvalidInstanceID.NotFound", self.ec2.describe_instances, InstanceIds=[NO_INSTANCE])
        self.refused("InvalidInstanceType", self.ec2.describe_instance_types, InstanceTypes=["z9.huge"])

    def test_a_region_has_zones(self):
        zones = self.ec2.describe_availability_zones()["AvailabilityZones"]
        self.assertEqual([zone["ZoneName"] for zone in zones], ["us-east-1a", "us-east-1b", "us-east-1c"])
        self.assertIn("us-east-1", [region["RegionName"] for region in self.ec2.describe_regions()["Regions"]])
