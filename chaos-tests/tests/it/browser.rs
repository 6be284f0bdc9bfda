//! The console in a real browser, on a running demo.
//!
//! Pictures of every page go to `target/screenshots`, in both schemes and at three widths.

mod demo;

use std::path::Path;
use std::time::Duration;

use chaos_tests::browser::{Browser, Scheme, axe};
use chaos_tests::wait::until;
use demo::Demo;
use thirtyfour::prelude::*;

const LIMIT: Duration = Duration::from_secs(30);
/// A topic of the demo that changes all the time.
const TAG: &str = "compressor";
const PAGES: [(&str, &str); 7] = [
    ("overview", "/"),
    ("tags", "/tags"),
    ("one", "/tags/one"),
    ("trend", "/trend"),
    ("wave", "/wave"),
    ("audit", "/audit"),
    ("lab", "/lab"),
];

fn screenshots() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/screenshots")
}

/// A person with a browser.
struct Person<'a> {
    browser: Browser,
    demo: &'a Demo,
}

impl<'a> Person<'a> {
    async fn new(demo: &'a Demo, role: &str) -> Person<'a> {
        let browser = Browser::start(&screenshots()).await.unwrap();
        browser.size(1280, 900).await.unwrap();
        let person = Person { browser, demo };
        person.sign_in(role).await;
        person
    }

    fn page(&self) -> &WebDriver {
        self.browser.driver()
    }

    async fn open(&self, path: &str) {
        self.page()
            .goto(format!("{}{path}", self.demo.url))
            .await
            .unwrap();
    }

    /// What was waited for, or a picture of what was there instead.
    async fn reached<T>(&self, outcome: anyhow::Result<T>) -> T {
        if outcome.is_err() {
            self.browser.screenshot("failed").await.unwrap();
        }
        outcome.unwrap()
    }

    async fn find(&self, css: &str) -> WebElement {
        let found = until(css, LIMIT, async || {
            let found = self.page().find(By::Css(css)).await;
            found.map_err(|error| error.to_string())
        });
        self.reached(found.await).await
    }

    /// By the keyboard alone: the name has the focus when the page opens.
    async fn sign_in(&self, role: &str) {
        self.open("/sign-in").await;
        self.find("#name").await;
        self.page()
            .active_element()
            .await
            .unwrap()
            .send_keys(role)
            .await
            .unwrap();
        for keys in [Key::Tab + self.demo.password(role), Key::Enter + ""] {
            self.page()
                .action_chain()
                .send_keys(keys)
                .perform()
                .await
                .unwrap();
        }
        self.find(".nav").await;
    }

    /// Text that is not there when it is asked for stays unknown, as when the page changes.
    async fn text(&self, css: &str) -> Option<String> {
        let found = self.page().find(By::Css(css)).await.ok()?;
        found.text().await.ok()
    }

    async fn attribute(&self, css: &str, name: &str) -> Option<String> {
        let found = self.page().find(By::Css(css)).await.ok()?;
        found.attr(name).await.ok().flatten()
    }

    async fn wait_attribute(&self, css: &str, name: &str, value: &str) {
        let what = format!("{css} has {name}={value}");
        let reached = until(&what, LIMIT, async || {
            match self.attribute(css, name).await {
                Some(found) if found == value => Ok(()),
                found => Err(format!("{found:?}")),
            }
        });
        self.reached(reached.await).await;
    }

    /// Waits until the text differs from `before`, and is there.
    async fn wait_change(&self, css: &str, before: &str) -> String {
        let what = format!("{css} changes from {before:?}");
        let changed = until(&what, LIMIT, async || match self.text(css).await {
            Some(now) if !now.is_empty() && now != before => Ok(now),
            now => Err(format!("{now:?}")),
        });
        self.reached(changed.await).await
    }

    /// What is live may be made anew between looking and clicking.
    async fn click(&self, css: &str) {
        let what = format!("click {css}");
        let clicked = until(&what, LIMIT, async || {
            let found = self.page().find(By::Css(css)).await;
            let found = found.map_err(|error| error.to_string())?;
            found.click().await.map_err(|error| error.to_string())
        });
        self.reached(clicked.await).await;
    }

    async fn wait_text(&self, css: &str, part: &str) {
        let what = format!("{css} says {part}");
        let reached = until(&what, LIMIT, async || match self.text(css).await {
            Some(found) if found.contains(part) => Ok(()),
            found => Err(format!("{found:?}")),
        });
        self.reached(reached.await).await;
    }

    async fn no_complaints(&self, after: &str) {
        let complaints = self.browser.complaints().await.unwrap();
        assert!(complaints.is_empty(), "{after}: {complaints:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_looks_around() {
    let demo = Demo::start().await;
    let operator = Person::new(&demo, "operator").await;
    finds_a_tag_and_sees_it_change(&operator).await;
    zooms_a_trend(&operator).await;
    sees_a_waveform(&operator).await;
    kills_a_node_and_starts_it_again(&operator).await;
    looks_good_everywhere(&operator).await;
    operator.no_complaints("the operator").await;
    operator.browser.quit().await.unwrap();
    a_viewer_may_not_kill(&demo).await;
}

async fn finds_a_tag_and_sees_it_change(person: &Person<'_>) {
    person.click(".nav a[href='/tags']").await;
    person.find("#q").await.send_keys(TAG).await.unwrap();
    let value = "#list tr[data-tag] td.value";
    let first = person.wait_change(value, "").await;
    person.wait_change(value, &first).await;
    person.click("#list tr[data-tag] th a").await;
    person.wait_text("h1", TAG).await;
    person.no_complaints("the tags").await;
}

async fn zooms_a_trend(person: &Person<'_>) {
    person.click("main a[href^='/trend']").await;
    person.find("#chart canvas").await;
    let before = person.wait_change("#about", "").await;
    let frame = person.find("#chart").await;
    frame.focus().await.unwrap();
    person
        .page()
        .action_chain()
        .send_keys("+")
        .perform()
        .await
        .unwrap();
    let zoomed = person.wait_change("#about", &before).await;
    // With the mouse as well: a stretch in the middle of the chart.
    let drag = person.page().action_chain();
    let drag = drag
        .move_to_element_with_offset(&frame, -100, 0)
        .click_and_hold();
    drag.move_by_offset(150, 0)
        .release()
        .perform()
        .await
        .unwrap();
    person.wait_change("#about", &zoomed).await;
    person.no_complaints("the trend").await;
}

async fn sees_a_waveform(person: &Person<'_>) {
    let path = wave_path(person).await;
    person.open(&path).await;
    person.find("#wave canvas").await;
    person.find("#spectrum canvas").await;
    person.no_complaints("the waveform").await;
}

/// From the tag's own page.
async fn wave_path(person: &Person<'_>) -> String {
    person.open("/tags?q=vibration").await;
    person.click("#list tr[data-tag] th a").await;
    let link = person.find("main a[href^='/wave']").await;
    link.attr("href").await.unwrap().unwrap()
}

async fn kills_a_node_and_starts_it_again(person: &Person<'_>) {
    let node = "#hub-acme\\.cologne .nodes li:nth-child(2)";
    person.open("/").await;
    person.wait_attribute(node, "data-state", "ok").await;
    person.open("/lab").await;
    person.click("button[value='kill acme.cologne 2']").await;
    person
        .wait_attribute("#node-acme\\.cologne-2 .badge", "data-state", "bad")
        .await;
    person.open("/").await;
    person.wait_attribute(node, "data-state", "bad").await;
    person.browser.screenshot("killed").await.unwrap();
    person.open("/lab").await;
    person.click("button[value='start acme.cologne 2']").await;
    person.open("/").await;
    person.wait_attribute(node, "data-state", "ok").await;
    person.no_complaints("the lab").await;
}

/// Every page: pictures, and the rules for those who see badly or use a keyboard.
async fn looks_good_everywhere(person: &Person<'_>) {
    let axe = axe().unwrap();
    let wave = wave_path(person).await;
    person.open(&format!("/tags?q={TAG}")).await;
    let one = person.find("#list tr[data-tag] th a").await;
    let one = one.attr("href").await.unwrap().unwrap();
    person.open(&one).await;
    let trend = person.find("main a[href^='/trend']").await;
    let trend = trend.attr("href").await.unwrap().unwrap();
    let mut violations = Vec::new();
    for (scheme, scheme_name) in [(Scheme::Light, "light"), (Scheme::Dark, "dark")] {
        person.browser.scheme(scheme).await.unwrap();
        for (size_name, width, height) in [
            ("phone", 360, 740),
            ("desk", 1280, 900),
            ("wall", 3840, 2160),
        ] {
            person.browser.size(width, height).await.unwrap();
            for (name, path) in PAGES {
                let path = match name {
                    "one" => &one,
                    "trend" => &trend,
                    "wave" => &wave,
                    _ => path,
                };
                person.open(path).await;
                settled(person, name).await;
                let picture = format!("{name}-{size_name}-{scheme_name}");
                person.browser.screenshot(&picture).await.unwrap();
                let wide = "return document.documentElement.scrollWidth - window.innerWidth";
                let wide = person.page().execute(wide, Vec::new()).await.unwrap();
                let wide = wide.json().as_i64().unwrap();
                assert!(wide <= 0, "{picture}: {wide} px wider than the screen");
                let found = person.browser.accessibility(&axe).await.unwrap();
                violations.extend(found.into_iter().map(|found| format!("{picture}: {found}")));
            }
        }
    }
    assert!(violations.is_empty(), "{violations:#?}");
}

/// Until what a script draws is there.
async fn settled(person: &Person<'_>, page: &str) {
    match page {
        "overview" => drop(person.find("#overview .nodes li").await),
        "tags" => drop(person.find("#list tr[data-tag]").await),
        "trend" => drop(person.wait_change("#about", "").await),
        "wave" => drop(person.find("#wave canvas").await),
        _ => drop(person.find("main h1").await),
    }
}

async fn a_viewer_may_not_kill(demo: &Demo) {
    let viewer = Person::new(demo, "viewer").await;
    viewer.open("/lab").await;
    viewer.find("#node-acme\\.cologne-2").await;
    let buttons = viewer
        .page()
        .find_all(By::Css("#bench button"))
        .await
        .unwrap();
    assert!(
        buttons.is_empty(),
        "a viewer is offered {} buttons",
        buttons.len()
    );
    // Whoever forges the request is refused by the server.
    let script = "const done = arguments[0]; \
        fetch('/lab/orders', {method: 'POST', body: new URLSearchParams({order: 'kill acme.cologne 1'}), \
            headers: {'x-csrf-token': document.querySelector('meta[name=csrf]').content}}) \
        .then(answer => done(answer.status), error => done(String(error)))";
    let status = viewer
        .page()
        .execute_async(script, Vec::new())
        .await
        .unwrap();
    assert_eq!(status.json().as_i64(), Some(403), "{status:?}");
    viewer.browser.quit().await.unwrap();
}
