//! Signatures: the published example, and what each change to a signed request does.

use proptest::prelude::*;

use super::*;

/// The example of the Signature Version 4 test suite: key, secret, time and scope.
const KEY: &str = "AKIDEXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A request, with defaults that are signed well.
struct Case {
    method: &'static str,
    path: &'static str,
    query: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    now: Timestamp,
    session_token: Option<&'static str>,
}

impl Case {
    /// A POST of a form, with its date and without a signature.
    fn post() -> Self {
        Self {
            method: "POST",
            path: "/",
            query: String::new(),
            headers: [
                ("host", "127.0.0.1:4599"),
                ("x-amz-date", "20261125T120000Z"),
                ("content-type", "application/x-www-form-urlencoded"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
            body: b"Action=DescribeVolumes&Version=2016-11-15".to_vec(),
            now: at("2026-11-25T12:00:00Z"),
            session_token: None,
        }
    }

    fn request(&self) -> SignedRequest<'_> {
        SignedRequest { method: self.method, path: self.path, query: &self.query, headers: &self.headers, body: &self.body }
    }

    /// Signs as a client does, and adds the Authorization header.
    fn signed(mut self, secret: &str, scope: &str) -> Self {
        let mut names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        let names = names.join(";");
        let authorization = |signature: &str| {
            format!("AWS4-HMAC-SHA256 Credential={KEY}/{scope}/aws4_request, SignedHeaders={names}, Signature={signature}")
        };
        let unsigned = ("authorization".to_owned(), authorization("00"));
        let mut headers = self.headers.clone();
        headers.push(unsigned);
        let draft = SignedRequest { headers: &headers, ..self.request() };
        let claim = Claim::read(&draft).unwrap();
        let text = signature::text_to_sign(&claim, &canonical::request(&draft, &claim).unwrap());
        let signature = signature::sign(&claim, secret, &text);
        self.headers.push(("authorization".to_owned(), authorization(&signature)));
        self
    }

    fn sign(self) -> Self {
        self.signed(SECRET, "20261125/us-east-1/ec2")
    }

    fn verify(&self) -> Result<String, &'static str> {
        let secret = |id: &str| (id == KEY).then_some(Secret { secret_access_key: SECRET, session_token: self.session_token });
        verify(&self.request(), "us-east-1", self.now, secret).map_err(|error| error.code)
    }
}

#[test]
fn the_published_example_is_reproduced() {
    // "get-vanilla" of the Signature Version 4 test suite that AWS published: the service is called "service" in it.
    let headers = [
        ("host", "example.amazonaws.com"),
        ("x-amz-date", "20150830T123600Z"),
        (
            "authorization",
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=host;x-amz-date, \
             Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
        ),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let request = SignedRequest { method: "GET", path: "/", query: "", headers: &headers, body: b"" };
    let claim = Claim::read(&request).unwrap();
    let canonical = canonical::request(&request, &claim).unwrap();
    assert_eq!(signature::digest(canonical.as_bytes()), "bb579772317eb040ac9ed261061d46c1f17a8133879d6129b6e1c25292927e63");
    let text = signature::text_to_sign(&claim, &canonical);
    assert!(signature::fits(&claim, SECRET, &text));
    assert!(!signature::fits(&claim, "another secret", &text));
}

#[test]
fn a_request_signed_with_the_right_secret_passes() {
    assert_eq!(Case::post().sign().verify(), Ok(KEY.to_owned()));
}

#[test]
fn a_request_changed_after_it_was_signed_fails() {
    let mut body = Case::post().sign();
    body.body.push(b'x');
    let mut query = Case::post().sign();
    query.query = "DryRun=true".to_owned();
    let mut method = Case::post().sign();
    method.method = "GET";
    let mut host = Case::post().sign();
    host.headers[0].1 = "elsewhere".to_owned();
    for case in [body, query, method, host] {
        assert_eq!(case.verify(), Err("AuthFailure"), "{case:?}", case = case.request());
    }
}

#[test]
fn a_wrong_secret_region_or_service_is_an_auth_failure() {
    assert_eq!(Case::post().signed("wrong", "20261125/us-east-1/ec2").verify(), Err("AuthFailure"));
    assert_eq!(Case::post().signed(SECRET, "20261125/eu-west-1/ec2").verify(), Err("AuthFailure"));
    assert_eq!(Case::post().signed(SECRET, "20261125/us-east-1/s3").verify(), Err("AuthFailure"));
    assert_eq!(Case::post().signed(SECRET, "20261124/us-east-1/ec2").verify(), Err("AuthFailure"));
}

#[test]
fn an_access_key_that_is_not_configured_is_an_auth_failure() {
    let case = Case::post().sign();
    let found = verify(&case.request(), "us-east-1", case.now, |_| None);
    assert_eq!(found.unwrap_err().code, "AuthFailure");
}

#[test]
fn a_clock_more_than_a_quarter_of_an_hour_off_is_expired() {
    for (now, expected) in [
        ("2026-11-25T12:15:00Z", Ok(KEY.to_owned())),
        ("2026-11-25T12:15:01Z", Err("RequestExpired")),
        ("2026-11-25T11:45:00Z", Ok(KEY.to_owned())),
        ("2026-11-25T11:44:59Z", Err("RequestExpired")),
    ] {
        let case = Case { now: at(now), ..Case::post().sign() };
        assert_eq!(case.verify(), expected, "{now}");
    }
}

#[test]
fn temporary_credentials_need_their_session_token() {
    let with = |token: &str| {
        let mut case = Case { session_token: Some("token"), ..Case::post() };
        case.headers.push(("x-amz-security-token".to_owned(), token.to_owned()));
        case.sign()
    };
    assert_eq!(with("token").verify(), Ok(KEY.to_owned()));
    assert_eq!(with("other").verify(), Err("AuthFailure"));
    assert_eq!(Case { session_token: Some("token"), ..Case::post().sign() }.verify(), Err("AuthFailure"));
    assert_eq!(Case { session_token: None, ..with("token") }.verify(), Err("AuthFailure"));
}

#[test]
fn a_header_that_matters_must_be_signed() {
    let mut case = Case::post();
    case.headers.remove(1);
    let mut case = case.signed_at_date();
    case.headers.push(("x-amz-date".to_owned(), "20261125T120000Z".to_owned()));
    assert_eq!(case.verify(), Err("AuthFailure"));
}

impl Case {
    /// Signs with the time in the Date header.
    fn signed_at_date(mut self) -> Self {
        self.headers.push(("date".to_owned(), "Wed, 25 Nov 2026 12:00:00 GMT".to_owned()));
        self.sign()
    }
}

#[test]
fn the_date_header_will_do() {
    let mut case = Case::post();
    case.headers.remove(1);
    assert_eq!(case.signed_at_date().verify(), Ok(KEY.to_owned()));
}

#[test]
fn a_signature_that_is_missing_or_cannot_be_read_is_named_so() {
    assert_eq!(Case::post().verify(), Err("MissingAuthenticationToken"));
    for authorization in [
        "",
        "Basic dXNlcg==",
        "AWS4-HMAC-SHA256",
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE, SignedHeaders=host, Signature=00",
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261125/us-east-1/ec2/aws4_request, Signature=00",
        "AWS4-ECDSA-P256-SHA256 Credential=A/20261125/ec2/aws4_request, SignedHeaders=host, Signature=00",
    ] {
        let mut case = Case::post();
        case.headers.push(("authorization".to_owned(), authorization.to_owned()));
        assert_eq!(case.verify(), Err("IncompleteSignature"), "{authorization}");
    }
}

#[test]
fn a_presigned_query_passes_until_it_expires() {
    let query = "Action=DescribeVolumes&Version=2016-11-15&Filter.1.Name=tag%3Aa&X-Amz-Algorithm=AWS4-HMAC-SHA256\
        &X-Amz-Credential=AKIDEXAMPLE%2F20261125%2Fus-east-1%2Fec2%2Faws4_request&X-Amz-Date=20261125T120000Z\
        &X-Amz-Expires=60&X-Amz-SignedHeaders=host";
    let mut case = Case { method: "GET", query: format!("{query}&X-Amz-Signature=00"), body: Vec::new(), ..Case::post() };
    case.headers.truncate(1);
    let claim = Claim::read(&case.request()).unwrap();
    let text = signature::text_to_sign(&claim, &canonical::request(&case.request(), &claim).unwrap());
    case.query = format!("{query}&X-Amz-Signature={}", signature::sign(&claim, SECRET, &text));
    assert_eq!(case.verify(), Ok(KEY.to_owned()));
    case.now = at("2026-11-25T12:17:00Z");
    assert_eq!(case.verify(), Err("RequestExpired"));
    case.now = at("2026-11-25T12:00:30Z");
    case.query.push_str("&DryRun=true");
    assert_eq!(case.verify(), Err("AuthFailure"));
}

/// Pieces of Authorization headers, so that random ones get past the first check.
fn authorization() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "AWS4-HMAC-SHA256",
        " Credential=",
        "AKIDEXAMPLE/20261125/us-east-1/ec2/aws4_request",
        "//us-east-1//aws4_request",
        ", SignedHeaders=",
        "host;x-amz-date",
        "host;;x-none",
        ", Signature=",
        "00ff",
        "0",
        ",",
        "=",
        "é",
        " ",
    ]);
    prop::collection::vec(pieces, 0..9).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// A request that nobody signed never passes and never panics, whatever it claims.
    #[test]
    fn no_claim_is_believed_without_a_signature(
        authorization in authorization(),
        date in prop_oneof![Just("20261125T120000Z".to_owned()), "[0-9TZ]{0,17}", "\\PC{0,12}"],
        query in "(X-Amz-(Algorithm|Credential|Date|Expires|SignedHeaders|Signature)=[ -~]{0,12}&){0,6}",
        in_header in any::<bool>(),
    ) {
        let mut case = Case { query, ..Case::post() };
        case.headers[1].1 = date;
        if in_header {
            case.headers.push(("authorization".to_owned(), authorization));
        }
        prop_assert!(case.verify().is_err());
    }
}
