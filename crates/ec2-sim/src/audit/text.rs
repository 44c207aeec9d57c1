//! The audit as people read it.

use std::collections::BTreeMap;
use std::fmt::{Display, Formatter, Result};

use super::Audit;

impl Display for Audit {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        writeln!(f, "volumes:            {}", counts(&self.volumes))?;
        writeln!(f, "snapshots:          {}", counts(&self.snapshots))?;
        writeln!(f, "attachments:        {}", self.attachments.len())?;
        for [volume, instance, device, status] in &self.attachments {
            writeln!(f, "  {volume} {instance} {device} {status}")?;
        }
        list(f, "double attachments:", &self.double_attachments)?;
        list(f, "across zones:", &self.across_zones)?;
        list(f, "deleted while used:", &self.deleted_while_referenced)?;
        list(f, "orphans:", &self.orphans)?;
        self.owners(f)?;
        self.traffic(f)
    }
}

impl Audit {
    fn owners(&self, f: &mut Formatter<'_>) -> Result {
        if self.owners.is_empty() {
            return Ok(());
        }
        writeln!(f, "owners:")?;
        for (owner, owned) in &self.owners {
            let name = if owner.is_empty() { "(none)" } else { owner };
            writeln!(
                f,
                "  {name}: volumes {} ({} GiB), snapshots {}, instances {}",
                counts(&owned.volumes),
                owned.gib,
                owned.snapshots,
                owned.instances
            )?;
        }
        list(f, "without an owner:", &self.ownerless)
    }

    fn traffic(&self, f: &mut Formatter<'_>) -> Result {
        writeln!(f, "calls (ok, refused, throttled):")?;
        for (action, count) in &self.calls {
            writeln!(f, "  {action:<29} {:>7} {:>7} {:>7}", count.ok, count.refused, count.throttled)?;
        }
        let traffic = &self.traffic;
        let (percent, tenth) = (traffic.throttled_permille / 10, traffic.throttled_permille % 10);
        writeln!(f, "calls in all:       {}, of which {} changed something", traffic.calls, traffic.changes)?;
        writeln!(f, "throttled:          {} ({percent}.{tenth} %)", traffic.throttled)?;
        writeln!(
            f,
            "API cost:           {}.{} s of the refill of their buckets",
            traffic.bucket_ms / 1_000,
            traffic.bucket_ms % 1_000 / 100
        )
    }
}

fn counts(counts: &BTreeMap<String, usize>) -> String {
    let list: Vec<String> = counts.iter().map(|(k, n)| format!("{n} {k}")).collect();
    if list.is_empty() { "none".to_owned() } else { list.join(", ") }
}

fn list(f: &mut Formatter<'_>, title: &str, texts: &[String]) -> Result {
    writeln!(f, "{title:<19} {}", texts.len())?;
    for text in texts {
        writeln!(f, "  {text}")?;
    }
    Ok(())
}
