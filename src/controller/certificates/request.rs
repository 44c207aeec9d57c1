//! May a CertificateSigningRequest be signed? Pure: what the API server says of who asked is compared with what is asked for.

use rcgen::{CertificateSigningRequestParams, SanType};

use crate::k8s::certificates::{SIGNER, USAGES, agent_name};

/// Where the API server writes the node that a token is bound to. Source: Kubernetes, "Managing Service Accounts", claims
/// of bound tokens.
const NODE_OF_TOKEN: &str = "authentication.kubernetes.io/node-name";
/// The shortest life of a certificate that is asked for. Source: Kubernetes API, `expirationSeconds`.
const SHORTEST_SECONDS: i32 = 600;

/// A request, as the API server has it.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) signer: String,
    /// Who asked; the API server wrote it.
    pub(super) username: String,
    /// The nodes that the token of who asked is bound to; the API server wrote them.
    pub(super) nodes: Vec<String>,
    pub(super) usages: Vec<String>,
    pub(super) expiration_seconds: Option<i32>,
    /// The request itself, PEM.
    pub(super) request: Vec<u8>,
    pub(super) is_approved: bool,
    /// Denied, failed, or answered with a certificate.
    pub(super) is_over: bool,
}

impl Seen {
    /// The nodes among the extra attributes of who asked.
    pub(super) fn node_key() -> &'static str {
        NODE_OF_TOKEN
    }
}

/// What is done about a request.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It is not ours, or is answered.
    Ignored,
    /// It must not be signed, in words for who asked.
    Refused(String),
    /// It is signed for the agent of a node.
    Signed {
        node: String,
        seconds: i32,
        /// Whose signature was checked.
        request: Box<CertificateSigningRequestParams>,
    },
}

/// Judges a request. `account` is the user name of agents.
pub(super) fn judge(seen: &Seen, account: &str) -> Verdict {
    if seen.signer != SIGNER || seen.is_over {
        return Verdict::Ignored;
    }
    checked(seen, account).unwrap_or_else(Verdict::Refused)
}

fn checked(seen: &Seen, account: &str) -> Result<Verdict, String> {
    if seen.username != account {
        return Err(format!("{} asked; only {account} gets certificates of {SIGNER}", seen.username));
    }
    let [node] = seen.nodes.as_slice() else {
        return Err(format!(
            "the token of who asked is bound to {} nodes instead of one; agents use tokens of their pods",
            seen.nodes.len()
        ));
    };
    let mut usages = seen.usages.clone();
    usages.sort();
    if usages != USAGES {
        return Err(format!("spec.usages are {usages:?}; they must be {USAGES:?}"));
    }
    let text = std::str::from_utf8(&seen.request).map_err(|_| "spec.request is no PEM".to_owned())?;
    // The parser panics at some subjects; a request must not end the leader.
    let parsed = std::panic::catch_unwind(|| CertificateSigningRequestParams::from_pem(text));
    let parsed = parsed.map_err(|_| "spec.request cannot be parsed".to_owned())?;
    let request = parsed.map_err(|error| format!("spec.request: {error}"))?;
    let dns_name = |name: &SanType| if let SanType::DnsName(name) = name { Some(name.to_string()) } else { None };
    let names: Vec<Option<String>> = request.params.subject_alt_names.iter().map(dns_name).collect();
    let expected = agent_name(node);
    if names != [Some(expected.clone())] {
        let told: Vec<String> = names.into_iter().map(|name| name.unwrap_or_else(|| "a name that is no DNS name".to_owned())).collect();
        return Err(format!("the request names {told:?}, but the token of who asked is of node {node}; it must name {expected} alone"));
    }
    let seconds = seen.expiration_seconds.unwrap_or(i32::MAX).clamp(SHORTEST_SECONDS, crate::k8s::certificates::LIFETIME_SECONDS);
    Ok(Verdict::Signed { node: node.clone(), seconds, request: Box::new(request) })
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    const ACCOUNT: &str = "system:serviceaccount:vd:volume-dispatcher-agent";

    pub(in super::super) fn request(names: &[&str]) -> Vec<u8> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().expect("a key");
        let request = CertificateParams::new(names).and_then(|params| params.serialize_request(&key)).and_then(|request| request.pem());
        request.expect("a request").into_bytes()
    }

    fn good() -> Seen {
        Seen {
            signer: SIGNER.to_owned(),
            username: ACCOUNT.to_owned(),
            nodes: vec!["node1".to_owned()],
            usages: ["server auth", "client auth", "digital signature"].map(str::to_owned).into(),
            request: request(&["node1.agent.volumedispatcher.io"]),
            ..Seen::default()
        }
    }

    fn refusal(change: impl FnOnce(&mut Seen)) -> String {
        let mut seen = good();
        change(&mut seen);
        match judge(&seen, ACCOUNT) {
            Verdict::Refused(why) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_agent_gets_a_certificate_for_the_node_of_its_token() {
        let Verdict::Signed { node, seconds, .. } = judge(&good(), ACCOUNT) else { panic!("it is not signed") };
        assert_eq!((node.as_str(), seconds), ("node1", 86_400));
        for (asked, given) in [(700, 700), (1, 600), (90_000, 86_400)] {
            let seen = Seen { expiration_seconds: Some(asked), ..good() };
            assert!(matches!(judge(&seen, ACCOUNT), Verdict::Signed { seconds, .. } if seconds == given), "{asked}");
        }
    }

    #[test]
    fn whoever_is_not_the_agent_of_that_node_is_refused() {
        assert!(refusal(|seen| seen.username = "system:serviceaccount:vd:default".to_owned()).contains("default asked"));
        assert!(refusal(|seen| seen.username = "admin".to_owned()).contains("admin asked"));
        assert!(refusal(|seen| seen.nodes.clear()).contains("0 nodes"));
        assert!(refusal(|seen| seen.nodes.push("node2".to_owned())).contains("2 nodes"));
        assert!(refusal(|seen| seen.nodes = vec!["node2".to_owned()]).contains("of node node2"));
    }

    #[test]
    fn a_request_for_more_than_one_name_or_another_purpose_is_refused() {
        let two = ["node1.agent.volumedispatcher.io", "node2.agent.volumedispatcher.io"];
        assert!(refusal(|seen| seen.request = request(&two)).contains("alone"));
        assert!(refusal(|seen| seen.request = request(&[])).contains("alone"));
        assert!(refusal(|seen| seen.request = request(&["node1"])).contains("alone"));
        assert!(refusal(|seen| seen.request = request(&["node1.agent.volumedispatcher.io", "10.0.0.1"])).contains("no DNS name"));
        assert!(refusal(|seen| seen.usages.truncate(2)).contains("spec.usages"));
        assert!(refusal(|seen| seen.usages.push("code signing".to_owned())).contains("spec.usages"));
    }

    #[test]
    fn a_request_that_is_torn_or_signed_by_another_key_is_refused() {
        assert!(refusal(|seen| seen.request = b"hello".to_vec()).contains("spec.request"));
        assert!(refusal(|seen| seen.request = vec![0xff, 0xfe]).contains("no PEM"));
        let tampered = |seen: &mut Seen| {
            let text = String::from_utf8(seen.request.clone()).expect("PEM is text");
            let lines: Vec<&str> = text.lines().collect();
            // The last line of the body holds the end of the signature.
            let last = lines[lines.len() - 2];
            let other = if last.starts_with('A') { "B" } else { "A" };
            let changed = text.replace(last, &format!("{other}{}", &last[1..]));
            seen.request = changed.into_bytes();
        };
        assert!(refusal(tampered).contains("spec.request"));
    }

    #[test]
    fn requests_of_others_and_answered_ones_are_left_alone() {
        let foreign = Seen { signer: "kubernetes.io/kube-apiserver-client".to_owned(), ..good() };
        assert!(matches!(judge(&foreign, ACCOUNT), Verdict::Ignored));
        assert!(matches!(judge(&Seen { is_over: true, ..good() }, ACCOUNT), Verdict::Ignored));
    }
}
