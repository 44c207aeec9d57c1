//! The instance types that exist here, with the attachment limits EC2 documents.

use crate::world::queries::filters::{self, Filterable};
use crate::world::queries::pages::{PageLimits, page};
use crate::world::{ApiError, Describe, Page, World};

/// How an instance type counts its attachments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttachmentLimit {
    /// EBS volumes have slots of their own (generation 7 and later).
    Dedicated,
    /// EBS volumes, network interfaces and instance store share the slots.
    Shared,
}

impl AttachmentLimit {
    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dedicated => "dedicated",
            Self::Shared => "shared",
        }
    }
}

/// An instance type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InstanceType {
    /// Such as `m7i.large`.
    pub name: &'static str,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Attachment slots.
    pub slots: u32,
    /// How the slots are counted.
    pub limit: AttachmentLimit,
    /// Whether it runs on the Nitro System, with NVMe devices and encrypted volumes; otherwise on Xen.
    pub nitro: bool,
}

impl InstanceType {
    /// The type of this name.
    pub fn find(name: &str) -> Option<&'static Self> {
        INSTANCE_TYPES.iter().find(|t| t.name == name)
    }

    /// How many volumes an instance of this type with so many network interfaces holds.
    /// It has no root volume, since it has no image.
    pub const fn most_volumes(&self, interfaces: u32) -> usize {
        match self.limit {
            AttachmentLimit::Dedicated => self.slots as usize,
            AttachmentLimit::Shared => self.slots.saturating_sub(interfaces) as usize,
        }
    }

    /// How many network interfaces an instance of this type can have.
    ///
    /// Source: EC2 Instance Types guide, "Network specifications": by size, the same for the families here.
    pub fn most_interfaces(&self) -> u32 {
        let size = self.name.split('.').nth(1).unwrap_or_default();
        match size {
            "micro" => 2,
            "medium" | "large" => 3,
            "xlarge" | "2xlarge" | "4xlarge" => 4,
            "8xlarge" | "12xlarge" => 8,
            _ => 15,
        }
    }

    /// The name of the hypervisor.
    pub const fn hypervisor(&self) -> &'static str {
        if self.nitro { "nitro" } else { "xen" }
    }

    /// The processor architecture.
    pub fn architecture(&self) -> &'static str {
        if self.name.starts_with("m7g") { "arm64" } else { "x86_64" }
    }
}

const fn shared(name: &'static str, vcpus: u32, memory_gib: u32) -> InstanceType {
    InstanceType { name, vcpus, memory_mib: memory_gib * 1024, slots: 28, limit: AttachmentLimit::Shared, nitro: true }
}

const fn dedicated(name: &'static str, vcpus: u32, memory_gib: u32, slots: u32) -> InstanceType {
    InstanceType { name, vcpus, memory_mib: memory_gib * 1024, slots, limit: AttachmentLimit::Dedicated, nitro: true }
}

/// Every type there is here, sorted by name.
pub const INSTANCE_TYPES: &[InstanceType] = &[
    shared("c5.large", 2, 4),
    shared("c5.xlarge", 4, 8),
    dedicated("c7i.large", 2, 4, 32),
    dedicated("c7i.xlarge", 4, 8, 32),
    // Of the first generation: 1.7 GiB, and as many volumes as the EBS CSI driver counts for Xen.
    InstanceType { name: "m1.small", vcpus: 1, memory_mib: 1_740, slots: 39, limit: AttachmentLimit::Dedicated, nitro: false },
    shared("m5.2xlarge", 8, 32),
    shared("m5.large", 2, 8),
    shared("m5.xlarge", 4, 16),
    shared("m6i.large", 2, 8),
    shared("m7g.large", 2, 8),
    dedicated("m7i.16xlarge", 64, 256, 48),
    dedicated("m7i.2xlarge", 8, 32, 32),
    dedicated("m7i.48xlarge", 192, 768, 128),
    dedicated("m7i.large", 2, 8, 32),
    dedicated("m7i.xlarge", 4, 16, 32),
    shared("r5.large", 2, 16),
    dedicated("r7i.large", 2, 16, 32),
    dedicated("r7i.xlarge", 4, 32, 32),
    shared("t3.medium", 2, 4),
    shared("t3.micro", 2, 1),
];

impl Filterable for InstanceType {
    const NAMES: &'static [&'static str] = &[
        "current-generation",
        "ebs-info.attachment-limit-type",
        "ebs-info.maximum-ebs-attachments",
        "hypervisor",
        "instance-type",
        "processor-info.supported-architecture",
    ];

    fn values(&self, name: &str) -> Vec<String> {
        match name {
            "current-generation" => vec![self.nitro.to_string()],
            "ebs-info.attachment-limit-type" => vec![self.limit.name().to_owned()],
            "ebs-info.maximum-ebs-attachments" => vec![self.slots.to_string()],
            "hypervisor" => vec![self.hypervisor().to_owned()],
            "instance-type" => vec![self.name.to_owned()],
            "processor-info.supported-architecture" => vec![self.architecture().to_owned()],
            _ => Vec::new(),
        }
    }
}

const PAGES: PageLimits = PageLimits { least: 5, most: 100, ids: "InstanceTypes" };

impl World {
    #[expect(clippy::unused_self, reason = "every describe call is a method of the world")]
    pub(in crate::world) fn describe_instance_types(&self, request: &Describe) -> Result<Page<InstanceType>, ApiError> {
        filters::check::<InstanceType>(&request.filters)?;
        if let Some(name) = request.ids.iter().find(|n| InstanceType::find(n).is_none()) {
            return Err(ApiError::new("InvalidInstanceType", format!("The following supplied instance types do not exist: [{name}]")));
        }
        let found = INSTANCE_TYPES
            .iter()
            .filter(|t| request.ids.is_empty() || request.ids.iter().any(|n| n == t.name))
            .filter(|t| filters::matches(*t, &request.filters))
            .copied();
        page(found, |t| t.name, request, PAGES)
    }
}
