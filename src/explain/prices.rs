//! What a pool costs a month, by a list of prices that names its source and its date.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use serde::Deserialize;

use crate::api::volume_pool::TemplateSpec;
use crate::domain::{GiB, Zone};
use crate::yaml;

/// The list that is used unless another is given.
const EMBEDDED: &str = include_str!("prices.yaml");

/// A list of prices.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Prices {
    /// Where the figures are from.
    pub source: String,
    /// When they were true.
    pub date: String,
    /// Their currency.
    pub currency: String,
    regions: BTreeMap<String, Region>,
    included: Included,
}

/// Prices of one region, for a month.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Region {
    #[serde(rename = "volumeGiB")]
    volume_gib: BTreeMap<String, f64>,
    iops: BTreeMap<String, f64>,
    throughput: f64,
    #[serde(rename = "snapshotGiB")]
    snapshot_gib: f64,
}

/// What gp3 includes.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Included {
    iops: u32,
    throughput: u32,
}

impl Prices {
    /// The list of this version of the program.
    pub fn embedded() -> anyhow::Result<Self> {
        Self::parse(EMBEDDED).context("the list of prices in the program cannot be read")
    }

    /// Reads a list; the error names the line.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let prices: Self = yaml::from_str(text)?;
        let figures = prices.regions.values().flat_map(|region| {
            let single = [region.throughput, region.snapshot_gib];
            region.volume_gib.values().chain(region.iops.values()).copied().chain(single)
        });
        for figure in figures {
            ensure!(figure.is_finite() && figure >= 0.0, "a price must not be {figure}");
        }
        Ok(prices)
    }

    /// A month of one volume; `None` when the list has no price for its region or type.
    pub fn volume(&self, zone: &Zone, template: &TemplateSpec, size: GiB) -> Option<f64> {
        let region = self.regions.get(region_of(zone))?;
        let kind = template.volume_type.as_str();
        let storage = region.volume_gib.get(kind)? * f64::from(size.0);
        let free_iops = if kind == "gp3" { self.included.iops } else { 0 };
        let paid_iops = template.iops.unwrap_or(0).saturating_sub(free_iops);
        let iops = region.iops.get(kind).copied().unwrap_or(0.0) * f64::from(paid_iops);
        let paid_throughput = template.throughput.unwrap_or(0).saturating_sub(self.included.throughput);
        Some(storage + iops + region.throughput * f64::from(paid_throughput))
    }

    /// A month of a snapshot that holds at most so much.
    pub fn snapshot(&self, zone: &Zone, size: GiB) -> Option<f64> {
        Some(self.regions.get(region_of(zone))?.snapshot_gib * f64::from(size.0))
    }
}

/// The region of a zone: `us-east-1` of `us-east-1a`.
fn region_of(zone: &Zone) -> &str {
    zone.as_str().trim_end_matches(|letter: char| letter.is_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::volume_pool::VolumeType;

    fn close(price: Option<f64>, expected: f64) {
        let price = price.unwrap();
        assert!((price - expected).abs() < 1e-9, "{price} is not {expected}");
    }

    #[test]
    fn a_volume_costs_its_storage_and_what_is_provisioned_beyond_what_is_included() {
        let (prices, zone) = (Prices::embedded().unwrap(), Zone::new("us-east-1a"));
        let gp3 = TemplateSpec::default();
        close(prices.volume(&zone, &gp3, GiB(20)), 1.6);
        let fast = TemplateSpec { iops: Some(6000), throughput: Some(250), ..gp3.clone() };
        close(prices.volume(&zone, &fast, GiB(20)), 1.6 + 15.0 + 5.0);
        let io2 = TemplateSpec { volume_type: VolumeType::Io2, iops: Some(1000), ..gp3 };
        close(prices.volume(&zone, &io2, GiB(10)), 1.25 + 65.0);
        close(prices.snapshot(&zone, GiB(20)), 1.0);
    }

    #[test]
    fn where_there_is_no_price_none_is_made_up() {
        let prices = Prices::embedded().unwrap();
        assert_eq!(prices.volume(&Zone::new("moon-west-1a"), &TemplateSpec::default(), GiB(1)), None);
        assert_eq!(prices.snapshot(&Zone::new("moon-west-1a"), GiB(1)), None);
    }

    #[test]
    fn a_list_with_an_odd_field_or_figure_is_refused() {
        for (old, new) in
            [("currency: USD", "money: USD"), ("throughput: 0.04", "throughput: -1"), ("throughput: 0.04", "throughput: .nan")]
        {
            assert!(EMBEDDED.contains(old));
            assert!(Prices::parse(&EMBEDDED.replace(old, new)).is_err(), "{new}");
        }
    }
}
