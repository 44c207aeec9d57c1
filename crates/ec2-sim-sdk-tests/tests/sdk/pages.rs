//! The paginators of the SDK: every page once, every resource once.

use std::collections::BTreeSet;

use aws_sdk_ec2::types::ResourceType;
use ec2_sim_sdk_tests::{Simulator, code};

use crate::account::{Account as _, filter, tagged};

const COUNT: usize = 12;

#[tokio::test]
async fn volumes_and_their_statuses_come_page_by_page() {
    let simulator = Simulator::start().await;
    let mut made = BTreeSet::new();
    for _ in 0..COUNT {
        made.insert(simulator.volume().await);
    }
    let volumes = simulator.ec2.describe_volumes().into_paginator().page_size(5).items().send();
    let found: Vec<String> = volumes.collect::<Result<Vec<_>, _>>().await.unwrap().into_iter().filter_map(|one| one.volume_id).collect();
    assert_eq!((found.len(), found.into_iter().collect::<BTreeSet<_>>()), (COUNT, made.clone()));
    let statuses = simulator.ec2.describe_volume_status().into_paginator().page_size(5).items().send();
    let found: Vec<String> = statuses.collect::<Result<Vec<_>, _>>().await.unwrap().into_iter().filter_map(|one| one.volume_id).collect();
    assert_eq!((found.len(), found.into_iter().collect::<BTreeSet<_>>()), (COUNT, made));
}

#[tokio::test]
async fn snapshots_and_tags_come_page_by_page() {
    let simulator = Simulator::start().await;
    let mut made = BTreeSet::new();
    for number in 0..COUNT {
        let tags = tagged(ResourceType::Snapshot, "number", &number.to_string());
        let snapshot = simulator.ec2.create_snapshot().volume_id(simulator.volume().await).tag_specifications(tags).send().await.unwrap();
        made.insert(snapshot.snapshot_id.unwrap());
    }
    let snapshots = simulator.ec2.describe_snapshots().owner_ids("self").into_paginator().page_size(5).items().send();
    let found: Vec<_> = snapshots.collect::<Result<Vec<_>, _>>().await.unwrap();
    assert_eq!(found.iter().filter_map(|one| one.snapshot_id.clone()).collect::<BTreeSet<_>>(), made);
    let tags = simulator.ec2.describe_tags().filters(filter("resource-type", "snapshot")).into_paginator().page_size(5).items().send();
    let values: BTreeSet<String> = tags.collect::<Result<Vec<_>, _>>().await.unwrap().into_iter().filter_map(|one| one.value).collect();
    assert_eq!(values, (0..COUNT).map(|number| number.to_string()).collect());
}

#[tokio::test]
async fn instances_and_instance_types_come_page_by_page() {
    let simulator = Simulator::start().await;
    let count = i32::try_from(COUNT).unwrap();
    let launched = simulator.ec2.run_instances().min_count(count).max_count(count).send().await.unwrap();
    let made: BTreeSet<String> = launched.instances().iter().filter_map(|one| one.instance_id.clone()).collect();
    let mut pages = simulator.ec2.describe_instances().max_results(5).into_paginator().send();
    let (mut found, mut count) = (Vec::new(), 0);
    while let Some(page) = pages.next().await {
        count += 1;
        let reservations = page.unwrap().reservations.unwrap();
        found.extend(reservations.into_iter().flat_map(|one| one.instances.unwrap()).filter_map(|one| one.instance_id));
    }
    assert_eq!((found.len(), count, found.into_iter().collect::<BTreeSet<_>>()), (COUNT, 3, made));
    let types = simulator.ec2.describe_instance_types().into_paginator().page_size(5).items().send();
    let types: Vec<_> = types.collect::<Result<Vec<_>, _>>().await.unwrap().into_iter().filter_map(|one| one.instance_type).collect();
    assert!(types.len() > 5, "{types:?}");
    assert_eq!(types.len(), types.iter().map(aws_sdk_ec2::types::InstanceType::as_str).collect::<BTreeSet<_>>().len());
}

#[tokio::test]
async fn a_volume_that_comes_or_goes_between_two_pages_neither_repeats_nor_hides_another() {
    let simulator = Simulator::start().await;
    let mut made = Vec::new();
    for _ in 0..COUNT {
        made.push(simulator.volume().await);
    }
    let mut pages = simulator.ec2.describe_volumes().max_results(5).into_paginator().send();
    let mut found = Vec::new();
    while let Some(page) = pages.next().await {
        found.extend(page.unwrap().volumes.unwrap().into_iter().filter_map(|one| one.volume_id));
        if found.len() == 5 {
            simulator.ec2.delete_volume().volume_id(&found[0]).send().await.unwrap();
            simulator.volume().await;
        }
    }
    let distinct: BTreeSet<&String> = found.iter().collect();
    assert_eq!(distinct.len(), found.len(), "none is listed twice");
    assert!(made.iter().all(|one| distinct.contains(one)), "none of those that stayed is left out");
}

#[tokio::test]
async fn page_sizes_have_a_least_and_exclude_ids() {
    let simulator = Simulator::start().await;
    let volume = simulator.volume().await;
    let describe = || simulator.ec2.describe_volumes();
    assert_eq!(code(describe().max_results(4).send().await), "InvalidParameterValue");
    assert_eq!(code(describe().max_results(5).volume_ids(volume).send().await), "InvalidParameterCombination");
    assert_eq!(code(describe().next_token("nonsense").send().await), "InvalidPaginationToken");
}
