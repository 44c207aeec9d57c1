//! Which EBS volume is a claim that a pool names as its source?

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};

use crate::api::keys::GROUP;
use crate::domain::VolumeId;
use crate::plan::ClaimFault;

/// CSI drivers whose volume handles are ids of EBS volumes. Source: aws-ebs-csi-driver, `pkg/util/constants.go`.
const EBS_DRIVERS: [&str; 2] = ["ebs.csi.aws.com", GROUP];

/// The EBS volume of a claim, by the handle of the PersistentVolume that it is bound to.
pub(super) fn resolve(
    claim: Option<Arc<PersistentVolumeClaim>>,
    find_pv: impl Fn(&str) -> Option<Arc<PersistentVolume>>,
    is_live: bool,
) -> Result<VolumeId, ClaimFault> {
    let claim = claim.ok_or(ClaimFault::NotFound)?;
    let is_raw = claim.spec.as_ref().is_some_and(|spec| spec.volume_mode.as_deref() == Some("Block"));
    if is_raw && is_live {
        return Err(ClaimFault::Raw);
    }
    let is_bound = claim.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Bound"));
    let volume_name = claim.spec.as_ref().and_then(|spec| spec.volume_name.clone()).filter(|_| is_bound).ok_or(ClaimFault::NotBound)?;
    let pv = find_pv(&volume_name).ok_or(ClaimFault::NotBound)?;
    ebs_volume(&pv)
}

fn ebs_volume(pv: &PersistentVolume) -> Result<VolumeId, ClaimFault> {
    let csi = pv.spec.as_ref().and_then(|spec| spec.csi.as_ref());
    let csi = csi.ok_or_else(|| ClaimFault::NotEbs("a volume that no CSI driver made".to_owned()))?;
    if !EBS_DRIVERS.contains(&csi.driver.as_str()) {
        return Err(ClaimFault::NotEbs(format!("a volume of the driver {}", csi.driver)));
    }
    let is_id = csi.volume_handle.starts_with("vol-");
    if is_id { Ok(VolumeId::new(&csi.volume_handle)) } else { Err(ClaimFault::NotEbs(format!("the volume {}", csi.volume_handle))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pv(csi: &serde_json::Value) -> PersistentVolume {
        serde_json::from_value(serde_json::json!({"spec": {"csi": csi}})).expect("it is a PersistentVolume")
    }

    #[test]
    fn a_raw_block_device_is_no_source_that_can_be_followed() {
        let claim = |mode| {
            let claim = serde_json::json!({"spec": {"volumeMode": mode, "volumeName": "pv"}, "status": {"phase": "Bound"}});
            Some(Arc::new(serde_json::from_value(claim).expect("it is a claim")))
        };
        let find = |_: &str| Some(Arc::new(pv(&serde_json::json!({"driver": "ebs.csi.aws.com", "volumeHandle": "vol-1"}))));
        assert_eq!(resolve(claim("Block"), find, true), Err(ClaimFault::Raw));
        assert_eq!(resolve(claim("Block"), find, false), Ok("vol-1".into()));
        assert_eq!(resolve(claim("Filesystem"), find, true), Ok("vol-1".into()));
    }

    #[test]
    fn a_claim_is_a_source_when_a_driver_of_ebs_made_its_volume() {
        for driver in ["ebs.csi.aws.com", "volumedispatcher.io"] {
            let made = pv(&serde_json::json!({"driver": driver, "volumeHandle": "vol-0123456789abcdef0"}));
            assert_eq!(ebs_volume(&made), Ok("vol-0123456789abcdef0".into()));
        }
        let cases = [
            (pv(&serde_json::json!({"driver": "efs.csi.aws.com", "volumeHandle": "fs-1"})), "efs.csi.aws.com"),
            (pv(&serde_json::json!({"driver": "ebs.csi.aws.com", "volumeHandle": "snap-1"})), "snap-1"),
            (PersistentVolume::default(), "no CSI driver"),
        ];
        for (pv, words) in cases {
            let Err(ClaimFault::NotEbs(what)) = ebs_volume(&pv) else { panic!("{words} is no source") };
            assert!(what.contains(words), "{what}");
        }
    }
}
