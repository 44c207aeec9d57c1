//! From parameters to a typed call.

mod instances;
mod snapshots;
mod volumes;

use super::params::Params;
use crate::world::{Action, ApiError, Call, CreateTags, DeleteTags, Describe, DescribeZones};

/// Reads the call that the parameters make.
pub(super) fn call(action: &str, params: &Params) -> Result<Call, ApiError> {
    let dry_run = params.boolean("DryRun")?.unwrap_or(false);
    let action = self::action(action, params)?;
    params.all_read()?;
    Ok(Call { action, dry_run })
}

fn action(name: &str, params: &Params) -> Result<Action, ApiError> {
    if name.is_empty() {
        return Err(ApiError::new("MissingAction", "The request must contain the parameter Action"));
    }
    let found = volumes::action(name, params)?.or(snapshots::action(name, params)?).or(instances::action(name, params)?);
    match found.or(general(name, params)?) {
        Some(action) => Ok(action),
        None => Err(ApiError::new("InvalidAction", format!("The action {name} is not valid for this web service."))),
    }
}

fn general(name: &str, params: &Params) -> Result<Option<Action>, ApiError> {
    Ok(Some(match name {
        "CreateTags" => Action::CreateTags(CreateTags { resources: params.texts("ResourceId"), tags: params.tags("Tag")? }),
        "DeleteTags" => Action::DeleteTags(DeleteTags { resources: params.texts("ResourceId"), tags: params.keys("Tag")? }),
        "DescribeTags" => Action::DescribeTags(describe(params, "ResourceId")?),
        "DescribeAvailabilityZones" => {
            params.ignore(&["AllAvailabilityZones"]);
            Action::DescribeAvailabilityZones(DescribeZones {
                names: params.texts("ZoneName"),
                ids: params.texts("ZoneId"),
                filters: params.filters()?,
            })
        }
        "DescribeRegions" => {
            params.ignore(&["AllRegions"]);
            Action::DescribeRegions(describe(params, "RegionName")?)
        }
        _ => return Ok(None),
    }))
}

/// The id list of this name, the filters and the page of a describe call.
fn describe(params: &Params, ids: &str) -> Result<Describe, ApiError> {
    params.ignore(&["IncludeManagedResources"]);
    Ok(Describe {
        ids: params.texts(ids),
        filters: params.filters()?,
        max_results: params.number("MaxResults")?,
        next_token: params.text("NextToken").filter(|token| !token.is_empty()),
    })
}
