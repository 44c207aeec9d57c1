//! Rules that every custom resource definition keeps, so that `kubectl explain` and `kubectl get` can be relied on.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionVersion, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use volume_dispatcher::api;

fn definitions() -> Vec<CustomResourceDefinition> {
    let definitions: Vec<_> =
        api::definitions().into_iter().map(|(_, value)| serde_json::from_value(serde_json::to_value(value).unwrap()).unwrap()).collect();
    assert_eq!(definitions.len(), 4);
    definitions
}

fn version(definition: &CustomResourceDefinition) -> &CustomResourceDefinitionVersion {
    let [version] = definition.spec.versions.as_slice() else { panic!("one version") };
    version
}

fn schema(definition: &CustomResourceDefinition) -> &JSONSchemaProps {
    version(definition).schema.as_ref().unwrap().open_api_v3_schema.as_ref().unwrap()
}

/// Calls `visit` with each field below a schema and its path.
fn walk<'a>(path: &str, schema: &'a JSONSchemaProps, visit: &mut impl FnMut(&str, &'a JSONSchemaProps)) {
    for (name, field) in schema.properties.iter().flatten() {
        let path = format!("{path}.{name}");
        visit(&path, field);
        walk(&path, field, visit);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &schema.items {
        walk(&format!("{path}[]"), items, visit);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &schema.additional_properties {
        walk(&format!("{path}{{}}"), values, visit);
    }
}

/// Fields that Kubernetes itself describes.
fn is_of_kubernetes(path: &str) -> bool {
    [".apiVersion", ".kind", ".metadata"].iter().any(|own| path == *own || path.starts_with(&format!("{own}.")))
}

/// The value at a simple JSON path such as `.spec.source.volumeID`.
fn at_path<'a>(schema: &'a JSONSchemaProps, path: &str) -> Option<&'a JSONSchemaProps> {
    path.split('.').skip(1).try_fold(schema, |schema, name| schema.properties.as_ref()?.get(name))
}

#[test]
fn every_field_says_what_it_is() {
    for definition in definitions() {
        let kind = &definition.spec.names.kind;
        let mut fields = 0;
        walk("", schema(&definition), &mut |path, field| {
            fields += 1;
            // The whole spec of a kind is described by the kind.
            let is_whole = path == ".spec" || path == ".status";
            let text = field.description.as_deref().unwrap_or_default();
            assert!(is_of_kubernetes(path) || is_whole || !text.trim().is_empty(), "{kind}{path} has no description");
        });
        assert!(fields > 5, "{kind} has {fields} fields");
        assert!(schema(&definition).description.as_ref().is_some_and(|text| text.ends_with('.')), "{kind} has no description");
    }
}

#[test]
fn every_optional_field_of_a_pool_names_its_default() {
    let definitions = definitions();
    let pool = definitions.iter().find(|definition| definition.spec.names.kind == "VolumePool").unwrap();
    let spec = at_path(schema(pool), ".spec").unwrap();
    let required = spec.required.clone().unwrap_or_default();
    for (name, field) in spec.properties.iter().flatten().filter(|(name, _)| !required.contains(name)) {
        let text = field.description.as_deref().unwrap_or_default();
        let is_group = field.type_.as_deref() == Some("object");
        assert!(is_group || text.contains("Default: "), "spec.{name}: {text}");
    }
}

#[test]
fn names_are_those_that_users_type() {
    let expected = [
        ("VolumePool", "volumepools", "vp"),
        ("PoolVolume", "poolvolumes", "pvol"),
        ("PoolNode", "poolnodes", "pnode"),
        ("PathOperation", "pathoperations", "pathop"),
    ];
    for (definition, (kind, plural, short)) in definitions().iter().zip(expected) {
        let names = &definition.spec.names;
        assert_eq!((names.kind.as_str(), names.plural.as_str()), (kind, plural));
        assert_eq!(names.short_names.as_deref(), Some([short.to_owned()].as_slice()));
        assert_eq!(names.categories.as_deref(), Some(["volumedispatcher".to_owned()].as_slice()));
        assert_eq!(definition.spec.group, "volumedispatcher.io");
        assert_eq!(definition.spec.scope, if kind == "PoolNode" { "Cluster" } else { "Namespaced" });
        assert_eq!(definition.metadata.name, Some(format!("{plural}.volumedispatcher.io")));
    }
}

#[test]
fn columns_show_fields_that_exist_and_end_with_the_age() {
    for definition in definitions() {
        let kind = &definition.spec.names.kind;
        let columns = version(&definition).additional_printer_columns.clone().unwrap_or_default();
        let (normal, wide): (Vec<_>, Vec<_>) = columns.iter().partition(|column| column.priority.unwrap_or(0) == 0);
        assert!(normal.len() >= 4, "{kind}");
        assert_eq!(normal.last().map(|column| column.name.as_str()), Some("Age"), "{kind}");
        assert!(normal.iter().all(|column| !wide.iter().any(|other| other.name == column.name)), "{kind} has a column twice");
        for column in columns.iter().filter(|column| !column.json_path.starts_with(".metadata")) {
            let plain = column.json_path.split('[').next().unwrap();
            let field = at_path(schema(&definition), plain);
            assert!(field.is_some(), "{kind}: the column {} shows {}, which does not exist", column.name, column.json_path);
        }
    }
}

#[test]
fn a_pool_can_be_scaled_and_every_kind_has_a_status() {
    for definition in definitions() {
        let subresources = version(&definition).subresources.clone().unwrap();
        assert!(subresources.status.is_some(), "{}", definition.spec.names.kind);
        let Some(scale) = subresources.scale else {
            assert_ne!(definition.spec.names.kind, "VolumePool", "kubectl scale needs the subresource");
            continue;
        };
        let selector = scale.label_selector_path.unwrap();
        for path in [&scale.spec_replicas_path, &scale.status_replicas_path, &selector] {
            assert!(at_path(schema(&definition), path).is_some(), "{path} does not exist");
        }
    }
}

#[test]
fn rules_of_the_schema_name_the_field() {
    let mut rules = 0;
    for definition in definitions() {
        walk("", schema(&definition), &mut |path, field| {
            for rule in field.x_kubernetes_validations.iter().flatten() {
                rules += 1;
                let message = rule.message.as_deref().unwrap_or_default();
                assert!(message.starts_with("spec.") || message.starts_with("spec "), "{path}: {} says {message:?}", rule.rule);
            }
        });
    }
    assert!(rules >= 8, "only {rules} rules were found");
}
