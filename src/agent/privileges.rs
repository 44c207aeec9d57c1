//! Gives up every capability that the agent does not need.
//!
//! Kubernetes allows `Bidirectional` mount propagation only to privileged containers, and a privileged container
//! gets all capabilities. So the agent drops the rest itself, first thing, for good. See docs/decisions/0004.

use rustix::thread::{CapabilitySet, CapabilitySets, remove_capability_from_bounding_set, set_capabilities};

/// What the agent keeps: mount, unmount and fanotify; read and write below the kubelet's and its own folder, whoever owns
/// them; open by handle what fanotify tells of (`open_by_handle_at(2)`); give files of copies the owners and modes that
/// they have at the source.
const NEEDED: CapabilitySet = CapabilitySet::SYS_ADMIN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::CHOWN)
    .union(CapabilitySet::FSETID);

/// Drops all other capabilities, also for programs that this process starts. Must run before any thread is started.
pub fn drop_privileges() -> rustix::io::Result<()> {
    for capability in CapabilitySet::all().iter().filter(|capability| !NEEDED.contains(*capability)) {
        match remove_capability_from_bounding_set(capability) {
            // A capability that this kernel does not know.
            Ok(()) | Err(rustix::io::Errno::INVAL) => {}
            Err(error) => return Err(error),
        }
    }
    set_capabilities(None, CapabilitySets { effective: NEEDED, permitted: NEEDED, inheritable: CapabilitySet::empty() })
}
