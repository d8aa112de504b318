//! Listing tags.

use crate::harness::Registry;
use crate::harness::image::{EXAMPLE, Image};

on_each_backend!(listed_in_order, every_page_size, odd_parameters, tag_grammar);

async fn listed_in_order(registry: Registry) {
    let (api, repository) = (registry.api(), registry.repository());
    let image = Image::artifact(&repository, EXAMPLE);
    api.push(&repository, &image, None).await;
    let list = format!("/v2/{repository}/tags/list");
    let answer = api.get(&list).expect(200).await;
    assert_eq!(answer.json()["name"], repository.as_str());
    assert!(answer.json()["tags"].as_array().is_none_or(Vec::is_empty), "{answer}");
    let mut tags = ["v10", "v1", "a", "B", "_x", "1.0", "latest", "v1.0-rc"].map(str::to_owned).to_vec();
    for tag in &tags {
        api.push_manifest(&repository, tag, image.root()).await;
    }
    let mut found = api.get(&list).expect(200).await.texts("tags");
    if api.is_strict() {
        // The specification asks for one order: lexical, of bytes.
        assert!(found.is_sorted(), "{found:?}");
    }
    tags.sort();
    found.sort();
    assert_eq!(found, tags);
    for (i, last) in tags.iter().enumerate() {
        let mut after = api.get(format!("{list}?last={last}")).expect(200).await.texts("tags");
        after.sort();
        assert_eq!(after, tags[i + 1..], "after {last}");
    }
    if api.is_strict() {
        // `last` need not exist.
        let after = api.get(format!("{list}?last=latesz")).expect(200).await.texts("tags");
        assert_eq!(after, ["v1", "v1.0-rc", "v10"]);
    }
}

async fn every_page_size(registry: Registry) {
    let (api, repository) = (registry.api(), registry.repository());
    let image = Image::artifact(&repository, EXAMPLE);
    api.push(&repository, &image, None).await;
    let tags: Vec<String> = (0..13).map(|i| format!("t{i:02}")).collect();
    for tag in &tags {
        api.push_manifest(&repository, tag, image.root()).await;
    }
    for n in [1, 2, 5, 12, 13, 14, 1000] {
        let (mut seen, mut pages) = (Vec::new(), 0);
        let mut target = Some(format!("/v2/{repository}/tags/list?n={n}"));
        while let Some(page) = target {
            let answer = api.get(page).expect(200).await;
            let part = answer.texts("tags");
            assert!(part.len() <= n, "{answer}");
            seen.extend(part);
            target = answer.next();
            pages += 1;
            assert!(pages <= 14, "paging does not end: {answer}");
        }
        assert_eq!(seen, tags, "n={n}");
        if api.is_strict() {
            assert_eq!(pages, tags.len().div_ceil(n), "no empty last page at n={n}");
        }
    }
}

async fn odd_parameters(registry: Registry) {
    let (api, repository) = (registry.api(), registry.repository());
    api.push(&repository, &Image::artifact(&repository, EXAMPLE), Some("v1")).await;
    let list = format!("/v2/{repository}/tags/list");
    let none = api.get(format!("{list}?n=0")).expect(200).await;
    assert!(none.json()["tags"].as_array().is_none_or(Vec::is_empty), "{none}");
    if api.is_strict() {
        assert_eq!(none.next(), None, "{none}");
        for n in ["-1", "x", "1e3", "99999999999999999999", "", "1&n=2"] {
            api.get(format!("{list}?n={n}")).refused(400, "UNSUPPORTED").await;
        }
        api.get(format!("{list}?n=4294967295")).expect(200).await;
        api.get(format!("{list}?unknown=parameter")).expect(200).await;
    }
}

async fn tag_grammar(registry: Registry) {
    let (api, repository) = (registry.api(), registry.repository());
    let image = Image::artifact(&repository, EXAMPLE);
    api.push(&repository, &image, None).await;
    let longest = "x".repeat(128);
    for good in ["_", "0", "A.b-c_d", &longest] {
        api.push_manifest(&repository, good, image.root()).await;
        api.get_manifest(&repository, good).expect(200).await;
    }
    if api.is_strict() {
        let too_long = "x".repeat(129);
        for bad in [".a", "-a", "a%20b", "a+b", "%C3%A9", "a@b", &too_long] {
            api.put_manifest(&repository, bad, image.root()).refused(400, "NAME_INVALID").await;
        }
    }
}
