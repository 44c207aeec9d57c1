"""Faults on request: what boto3 makes of lost answers, refusals that pass, throttling and stuck attachments."""

import botocore.exceptions

from simulator import DEVICE, ZONE, Contract

GP3 = {"Size": 1, "VolumeType": "gp3", "AvailabilityZone": ZONE}


class Faults(Contract):
    def inject(self, fault, action=None, **more):
        """Lets something go wrong, for the calls of an action when one is named; returns the number of the fault."""
        calls = {"calls": {"action": action}} if action else {}
        return self.simulator.admin("faults", {"fault": fault} | calls | more)["id"]

    def patient(self):
        """A client that tries again, as clients do unless told otherwise."""
        client = self.simulator.client(retries={"mode": "standard", "total_max_attempts": 4})
        self.addCleanup(client.close)
        return client

    def test_a_creation_whose_answer_is_lost_is_found_by_its_token(self):
        self.inject("reply-lost", "CreateVolume", times=1)
        made = self.patient().create_volume(**GP3, ClientToken="once")["VolumeId"]
        self.assertEqual([one["VolumeId"] for one in self.ec2.describe_volumes()["Volumes"]], [made])

    def test_without_a_second_attempt_a_lost_answer_leaves_a_volume(self):
        self.inject("reply-lost", "CreateVolume", times=1)
        with self.assertRaises(botocore.exceptions.HTTPClientError):
            self.ec2.create_volume(**GP3)
        self.assertEqual(len(self.ec2.describe_volumes()["Volumes"]), 1)

    def test_throttling_and_errors_of_the_service_pass_for_a_client_that_tries_again(self):
        for code, status in [("RequestLimitExceeded", 503), ("InternalError", 500), ("Unavailable", 503)]:
            with self.subTest(code=code):
                self.inject("error", "DescribeVolumes", times=1, code=code)
                self.refused(code, self.ec2.describe_volumes, status=status)
                self.inject("error", "DescribeVolumes", times=1, code=code)
                self.assertEqual(self.patient().describe_volumes()["Volumes"], [])

    def test_an_empty_bucket_refuses_with_503(self):
        self.simulator.admin("faults", {"fault": "throttle", "action": "CreateVolume", "bucket": {"size": 2, "refill_per_second": 1}})
        for _ in range(2):
            self.ec2.create_volume(**GP3)
        self.refused("RequestLimitExceeded", self.ec2.create_volume, status=503, **GP3)

    def test_a_stuck_attachment_stays_until_it_is_detached(self):
        volume, instance = self.volume(), self.instance()
        self.inject("attachment-sticks", "AttachVolume", times=1)
        self.ec2.attach_volume(VolumeId=volume, InstanceId=instance, Device=DEVICE)
        self.simulator.pass_time(3600)
        self.assertEqual(self.seen(volume)["Attachments"][0]["State"], "attaching")
        self.ec2.detach_volume(VolumeId=volume)
        self.assertEqual(self.seen(volume)["State"], "available")

    def test_a_zone_without_room_refuses_while_the_fault_stands(self):
        number = self.inject("no-capacity", zone=ZONE)
        self.refused("InsufficientVolumeCapacity", self.ec2.create_volume, status=500, **GP3)
        self.ec2.create_volume(**GP3 | {"AvailabilityZone": "us-east-1b"})
        self.assertEqual([one["id"] for one in self.simulator.admin("faults")["standing"]], [number])
