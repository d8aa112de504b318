use proptest::prelude::*;

use super::*;

fn parse(method: &str, target: &str) -> Result<Operation, OperationError> {
    let (path, query) = target.split_once('?').map_or((target, None), |(p, q)| (p, Some(q)));
    Operation::parse(method, path, query)
}

fn hex() -> String {
    "a".repeat(64)
}

#[test]
fn names_may_contain_endpoint_words() {
    let op = parse("GET", "/v2/a/blobs/uploads/manifests/b/manifests/latest").unwrap();
    assert_eq!(op.repository().unwrap().as_str(), "a/blobs/uploads/manifests/b");
    let op = parse("GET", "/v2/tags/list/tags/list").unwrap();
    assert_eq!(op.repository().unwrap().as_str(), "tags/list");
    assert!(matches!(parse("POST", "/v2/x/blobs/blobs/uploads/"), Ok(Operation::UploadStart { .. })));
}

#[test]
fn encoded_colon_is_a_colon_and_encoded_slash_is_nothing() {
    assert!(matches!(
        parse("GET", &format!("/v2/a/blobs/sha256%3A{}", hex())),
        Ok(Operation::BlobGet { .. })
    ));
    assert_eq!(parse("GET", "/v2/a%2Fb/manifests/latest"), Err(OperationError::NotFound));
    assert_eq!(parse("GET", "/v2/a/manifests%2Flatest"), Err(OperationError::NotFound));
}

#[test]
fn wrong_requests_have_the_right_code() {
    let code = |method: &str, target: &str| match parse(method, target) {
        Err(OperationError::Invalid { code, .. }) => Some(code),
        other => panic!("{method} {target}: {other:?}"),
    };
    assert_eq!(code("GET", "/v2/A/manifests/x"), Some(ErrorCode::NameInvalid));
    assert_eq!(code("GET", "/v2/a/../b/manifests/x"), Some(ErrorCode::NameInvalid));
    assert_eq!(code("GET", "/v2/a/manifests/sha256:x"), Some(ErrorCode::DigestInvalid));
    assert_eq!(code("GET", "/v2/a/blobs/md5:x"), Some(ErrorCode::DigestInvalid));
    assert_eq!(
        code("PUT", "/v2/a/blobs/uploads/00000000-0000-0000-0000-000000000000"),
        Some(ErrorCode::DigestInvalid)
    );
    assert_eq!(code("PATCH", "/v2/a/blobs/uploads/x"), Some(ErrorCode::BlobUploadUnknown));
    assert_eq!(code("GET", "/v2/a/tags/list?n=-1"), Some(ErrorCode::Unsupported));
    assert_eq!(code("GET", "/v2/a/tags/list?n=1&n=2"), Some(ErrorCode::Unsupported));
    assert_eq!(code("GET", "/v2/a/tags/list?last=a%00"), Some(ErrorCode::Unsupported));
    assert_eq!(code("GET", "/v2/_catalog?last=%0a"), Some(ErrorCode::Unsupported));
    assert_eq!(code("POST", "/v2/a/blobs/uploads/?digest-algorithm=md5"), Some(ErrorCode::DigestInvalid));
    assert_eq!(code("PUT", "/v2/a/manifests/x?tag=y"), Some(ErrorCode::Unsupported));
    for target in
        ["/", "/v1/", "/v2x", "/v2/a", "/v2/a/b", "/v2/a/manifest/x", "/v2/manifests/x", "/v2//", "/v2/%ff"]
    {
        assert_eq!(parse("GET", target), Err(OperationError::NotFound), "{target}");
    }
    assert!(matches!(parse("POST", "/v2/a/manifests/x"), Err(OperationError::Method { .. })));
    assert!(matches!(parse("GET", "/v2/a/blobs/uploads/"), Err(OperationError::Method { .. })));
}

#[test]
fn artifact_type_keeps_its_plus() {
    for target in ["application/x%2Bjson", "application/x+json"] {
        let op = parse("GET", &format!("/v2/a/referrers/sha256:{}?artifactType={target}", hex())).unwrap();
        let Operation::Referrers { artifact_type, .. } = op else { panic!("{op:?}") };
        assert_eq!(artifact_type.as_deref(), Some("application/x+json"));
    }
}

fn repositories() -> impl Strategy<Value = RepositoryName> {
    "[a-z0-9]{1,8}((\\.|_|__|-{1,3})[a-z0-9]{1,4}){0,2}(/(blobs|uploads|manifests|tags|list|[a-z0-9]{1,5})){0,4}"
        .prop_map(|s| s.parse().unwrap())
}

fn digests() -> impl Strategy<Value = Digest> {
    (any::<[u8; 4]>(), any::<bool>())
        .prop_map(|(seed, long)| Digest::of(if long { Algorithm::Sha512 } else { Algorithm::Sha256 }, &seed))
}

fn tags() -> impl Strategy<Value = Tag> {
    "[a-zA-Z0-9_][a-zA-Z0-9._-]{0,20}".prop_map(|s| s.parse().unwrap())
}

fn pages() -> impl Strategy<Value = Page> {
    (proptest::option::of(0..=u64::from(u32::MAX)), proptest::option::of("[ -~é]{1,20}"))
        .prop_map(|(n, last)| Page { n, last })
}

/// What is about the registry as a whole.
fn on_the_registry() -> impl Strategy<Value = Operation> {
    let on_rule = (tags(), any::<bool>()).prop_map(|(rule, delete)| match delete {
        true => Operation::TagRuleDelete { rule },
        false => Operation::TagRulePut { rule },
    });
    let on_policy = (tags(), 0..5u8).prop_map(|(name, which)| match which {
        0 => Operation::PolicyGet { policy: name },
        1 => Operation::PolicyPut { policy: name },
        2 => Operation::PolicyDelete { policy: name },
        3 => Operation::TrustPut { trust: name },
        _ => Operation::TrustDelete { trust: name },
    });
    let on_all = prop_oneof![
        Just(Operation::Ping),
        Just(Operation::TagRuleList),
        Just(Operation::PolicyList),
        Just(Operation::PolicySchema),
        Just(Operation::WhatIf),
        Just(Operation::TrustList),
    ];
    prop_oneof![on_all, on_rule, on_policy]
}

fn operations() -> impl Strategy<Value = Operation> {
    let references = || prop_oneof![tags().prop_map(Reference::Tag), digests().prop_map(Reference::Digest)];
    let starts = prop_oneof![
        any::<bool>().prop_map(|long| UploadStart::Session {
            algorithm: if long { Algorithm::Sha512 } else { Algorithm::Sha256 }
        }),
        digests().prop_map(|digest| UploadStart::Monolithic { digest }),
        (digests(), proptest::option::of(repositories()))
            .prop_map(|(digest, from)| UploadStart::Mount { digest, from }),
    ];
    let on_manifest =
        (repositories(), references(), 0..3u8).prop_map(|(repository, reference, which)| match which {
            0 => Operation::ManifestGet { repository, reference },
            1 => Operation::ManifestHead { repository, reference },
            _ => Operation::ManifestDelete { repository, reference },
        });
    let on_blob = (repositories(), digests(), 0..3u8).prop_map(|(repository, digest, which)| match which {
        0 => Operation::BlobGet { repository, digest },
        1 => Operation::BlobHead { repository, digest },
        _ => Operation::BlobDelete { repository, digest },
    });
    let on_upload =
        (repositories(), any::<u128>(), digests(), 0..4u8).prop_map(|(repository, id, digest, which)| {
            let upload = UploadId(uuid::Uuid::from_u128(id));
            match which {
                0 => Operation::UploadChunk { repository, upload },
                1 => Operation::UploadCommit { repository, upload, digest },
                2 => Operation::UploadStatus { repository, upload },
                _ => Operation::UploadCancel { repository, upload },
            }
        });
    let on_decision = (repositories(), references())
        .prop_map(|(repository, reference)| Operation::DecisionGet { repository, reference });
    prop_oneof![
        on_the_registry(),
        on_decision,
        pages().prop_map(|page| Operation::Catalog { page }),
        (repositories(), pages()).prop_map(|(repository, page)| Operation::TagList { repository, page }),
        (repositories(), digests(), proptest::option::of("[ -~]{1,30}"), pages()).prop_map(
            |(repository, subject, artifact_type, page)| Operation::Referrers {
                repository,
                subject,
                artifact_type,
                page
            }
        ),
        on_manifest,
        (repositories(), tags()).prop_map(|(repository, tag)| Operation::ManifestPut {
            repository,
            reference: Reference::Tag(tag),
            tags: Vec::new()
        }),
        (repositories(), digests(), proptest::collection::vec(tags(), 0..12)).prop_map(
            |(repository, digest, tags)| Operation::ManifestPut {
                repository,
                reference: Reference::Digest(digest),
                tags
            }
        ),
        on_blob,
        (repositories(), starts).prop_map(|(repository, start)| Operation::UploadStart { repository, start }),
        on_upload,
    ]
}

proptest! {
    #[test]
    fn render_then_parse_is_identity(op in operations()) {
        let (method, target) = op.render();
        prop_assert_eq!(parse(method, &target).unwrap(), op.clone());
        prop_assert_eq!(Operation::NAMES[op.index()], op.name());
    }

    #[test]
    fn never_panics(method in "GET|PUT|POST|PATCH|DELETE|HEAD|\\PC{0,4}", target in "(/v2/)?[a-z/%._:?&=A-Z0-9+-]{0,80}|\\PC{0,80}") {
        let _ = parse(&method, &target);
    }
}
