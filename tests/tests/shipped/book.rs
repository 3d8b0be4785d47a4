//! docs/ is a book: every page is in its table of contents, and every link leads somewhere.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use towline_tests::program::Place;

fn workspace() -> PathBuf {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    path.canonicalize().expect("the workspace is there")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The pages of a directory, without those below it.
fn pages(directory: &Path) -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(directory).expect("the directory can be read");
    entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|end| end == "md"))
        .collect()
}

/// The lines of a page that are neither code nor the fence around it.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut in_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        in_code ^= is_fence;
        !in_code && !is_fence
    })
}

/// A line without what stands between backticks.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect()
}

/// Where the links of a page lead to.
fn links(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    // A link's text may be broken over two lines, its target is not.
    for line in prose(text) {
        for part in without_code(line).split("](").skip(1) {
            if let Some((target, _)) = part.split_once(')') {
                found.push(target.to_owned());
            }
        }
    }
    found
}

/// The names by which a page's headings are linked to: as mdBook makes them, and forges do.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut counts = BTreeMap::<String, usize>::new();
    let headings = prose(text).filter_map(|line| {
        let heading = line.trim_start_matches('#');
        let is_heading = heading.len() < line.len() && heading.starts_with(' ');
        is_heading.then(|| heading.trim())
    });
    headings
        .map(|heading| {
            let slug: String = heading
                .to_lowercase()
                .chars()
                .filter_map(|c| match c {
                    ' ' => Some('-'),
                    c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
                    _ => None,
                })
                .collect();
            let count = counts.entry(slug.clone()).or_default();
            *count += 1;
            match *count {
                1 => slug,
                more => format!("{slug}-{}", more - 1),
            }
        })
        .collect()
}

fn is_elsewhere(link: &str) -> bool {
    link.starts_with("https://") || link.starts_with("http://")
}

/// Follows every link of a page within this repository.
fn follow(page: &Path, wrong: &mut Vec<String>) {
    let text = read(page);
    for link in links(&text) {
        if is_elsewhere(&link) {
            continue;
        }
        let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
        let target = if file.is_empty() {
            page.to_owned()
        } else {
            page.with_file_name(file)
        };
        let is_there =
            target.exists() && (anchor.is_empty() || anchors(&read(&target)).contains(anchor));
        if !is_there {
            wrong.push(format!("{}: {link}", page.display()));
        }
    }
}

#[test]
fn every_link_leads_somewhere() {
    let workspace = workspace();
    let mut all = pages(&workspace);
    all.extend(pages(&workspace.join("docs")));
    all.extend(pages(&workspace.join("packaging")));
    // Generated, and held by a test of its own.
    all.remove(&workspace.join("CONFORMANCE.md"));
    let mut wrong = Vec::new();
    for page in &all {
        follow(page, &mut wrong);
    }
    assert!(wrong.is_empty(), "links to nowhere: {wrong:#?}");
}

/// In the book there is nothing above docs/; a link up would work on a forge and nowhere else.
#[test]
fn the_book_is_whole_by_itself() {
    let docs = workspace().join("docs");
    let summary = docs.join("SUMMARY.md");
    let contents = links(&read(&summary));
    let listed: BTreeSet<PathBuf> = contents.iter().map(|link| docs.join(link)).collect();
    assert_eq!(listed.len(), contents.len(), "a page stands there twice");
    let mut there = pages(&docs);
    there.remove(&summary);
    let missing: Vec<_> = there.difference(&listed).collect();
    assert!(missing.is_empty(), "not in SUMMARY.md: {missing:#?}");
    for page in &there {
        let up: Vec<_> = links(&read(page))
            .into_iter()
            .filter(|link| link.starts_with(".."))
            .collect();
        assert!(
            up.is_empty(),
            "{} leads out of the book: {up:?}",
            page.display()
        );
    }
}

/// Pages of a registry have no neighbours.
#[test]
fn pages_of_crates_link_to_whole_addresses() {
    let crates = fs::read_dir(workspace().join("crates")).expect("there are crates");
    for entry in crates.flatten() {
        let page = entry.path().join("README.md");
        let relative: Vec<_> = links(&read(&page))
            .into_iter()
            .filter(|link| !is_elsewhere(link))
            .collect();
        assert!(relative.is_empty(), "{}: {relative:?}", page.display());
    }
}

/// The configuration that docs/deploy.md shows is one, and its roles grant what the page says.
#[tokio::test]
async fn the_deployed_configuration_is_one() {
    let page = read(&workspace().join("docs/deploy.md"));
    let (_, rest) = page.split_once("```toml\n").expect("it shows one");
    let (config, _) = rest.split_once("```").expect("it ends");
    let place = Place::new();
    place.write("towline.toml", config);
    let granted = async |principal: &str, lease: &str, operation: &str| {
        let args = [
            "lease",
            "explain",
            "--config",
            "towline.toml",
            "--as",
            principal,
        ];
        let asked = ["--lease", lease, "--op", operation];
        place.run(args.iter().chain(&asked)).await
    };
    let read = ("fs.read=/srv/repos/a/**", "fs.read=/srv/repos/a/b");
    granted("alice", read.0, read.1).await.status(0);
    granted("nightly", read.0, read.1).await.status(0);
    let refused = granted("nightly", "tool.call=search.web", "tool.call=search.web").await;
    assert_ne!(refused.status, 0, "{refused:?}");
    let said = granted("olga", read.0, read.1).await;
    assert!(said.stdout.contains("agents none"), "{said:?}");
}

/// What packages install says nothing, so that a server that starts by mistake hosts nothing; without its marks it is a
/// configuration.
#[tokio::test]
async fn the_packaged_configuration_is_one() {
    let text = read(&workspace().join("packaging/towline.toml"));
    let is_set = |line: &str| !line.is_empty() && !line.starts_with('#');
    assert!(!text.lines().any(is_set), "something is set");
    // Remarks are sentences; what is commented out has a table or a value.
    let set: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# "))
        .filter(|line| line.starts_with('[') || line.contains(" = "))
        .collect();
    assert!(set.len() > 5, "{set:?}");
    let place = Place::new();
    place.write("towline.toml", set.join("\n"));
    let args = [
        "lease",
        "explain",
        "--config",
        "towline.toml",
        "--as",
        "alice",
    ];
    let asked = [
        "--lease",
        "fs.read=/srv/repos/**",
        "--op",
        "fs.read=/srv/repos/a",
    ];
    place.run(args.iter().chain(&asked)).await.status(0);
}
