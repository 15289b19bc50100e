//! `/handbook`: the book, from the sources inside this program, for sites with no internet.
//!
//! Renders one Markdown page at a time, with the contents beside it. Open to anyone who reaches the port, as the console's own files are:
//! it holds nothing of this hub. Links between pages end in `.md` in the sources and in `.html` here.
//!
//! Read next: `hub/handbook/src/SUMMARY.md` (the contents).

use axum::extract::Path;
use axum::http::header::{CONTENT_TYPE, LOCATION};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use pulldown_cmark::{CowStr, Event, HeadingLevel, Options, Parser, Tag, TagEnd, html};
use rust_embed::RustEmbed;

use super::Failure;
use super::answer::tagged;

#[derive(RustEmbed)]
#[folder = "handbook/src"]
struct Book;

const FIRST: &str = "introduction";
const STYLE: &str = include_str!("handbook.css");

/// `GET /handbook`: the first page.
pub async fn first() -> Response {
    (StatusCode::SEE_OTHER, [(LOCATION, format!("/handbook/{FIRST}.html"))]).into_response()
}

/// `GET /handbook/{page}`.
pub async fn page(Path(page): Path<String>, headers: HeaderMap) -> Result<Response, Failure> {
    if page == "style.css" {
        return Ok(([(CONTENT_TYPE, "text/css; charset=utf-8")], STYLE).into_response());
    }
    let unknown = || Failure::not_found(format!("the handbook has no page `{page}`: /handbook has the contents"));
    let name = page.strip_suffix(".html").ok_or_else(unknown)?;
    let text = source(name).ok_or_else(unknown)?;
    let contents = source("SUMMARY").unwrap_or_default();
    let html = whole(&title(&text), &body(&contents, "/handbook/"), &body(&text, ""));
    Ok(tagged(&headers, "text/html; charset=utf-8", html.into()))
}

/// A page's source; the name cannot leave the book, because only its own files are known.
fn source(name: &str) -> Option<String> {
    let file = Book::get(&format!("{name}.md"))?;
    String::from_utf8(file.data.into_owned()).ok()
}

fn title(text: &str) -> String {
    let first = text.lines().next().unwrap_or_default();
    first.trim_start_matches("# ").to_owned()
}

/// Markdown as HTML; links to pages get `below` in front and `.html` behind.
fn body(text: &str, below: &str) -> String {
    let mut heading = String::new();
    let mut inside = false;
    let events = Parser::new_ext(text, Options::ENABLE_TABLES).map(|event| match event {
        Event::Start(Tag::Link {
            link_type,
            dest_url,
            title,
            id,
        }) => Event::Start(Tag::Link {
            link_type,
            dest_url: link(dest_url, below),
            title,
            id,
        }),
        // Nothing of ours writes HTML into its Markdown: shown as what it is.
        Event::Html(html) | Event::InlineHtml(html) => Event::Text(html),
        other => other,
    });
    let mut out = Vec::new();
    for event in events {
        match &event {
            Event::Start(Tag::Heading { level, .. }) if *level != HeadingLevel::H1 => {
                inside = true;
                heading.clear();
                out.push(event);
                continue;
            }
            Event::Text(text) | Event::Code(text) if inside => heading.push_str(text),
            Event::End(TagEnd::Heading(_)) if inside => {
                inside = false;
                name_heading(&mut out, &heading);
            }
            _ => {}
        }
        out.push(event);
    }
    let mut page = String::new();
    html::push_html(&mut page, out.into_iter());
    page
}

/// Gives the heading that is open the id that a link to it uses.
fn name_heading(events: &mut [Event<'_>], text: &str) {
    let open = events.iter_mut().rev().find_map(|event| match event {
        Event::Start(Tag::Heading { id, .. }) => Some(id),
        _ => None,
    });
    if let Some(id) = open {
        let simple = |c: char| {
            if c.is_alphanumeric() {
                Some(c)
            } else {
                (c == ' ' || c == '-').then_some('-')
            }
        };
        *id = Some(CowStr::from(
            text.to_lowercase().chars().filter_map(simple).collect::<String>(),
        ));
    }
}

fn link<'a>(url: CowStr<'a>, below: &str) -> CowStr<'a> {
    if url.contains("://") || url.starts_with(['/', '#']) {
        return url;
    }
    let (page, anchor) = url.split_once('#').unwrap_or((&url, ""));
    let Some(name) = page.strip_suffix(".md") else {
        return url;
    };
    let hash = if anchor.is_empty() { "" } else { "#" };
    CowStr::from(format!("{below}{name}.html{hash}{anchor}"))
}

/// A page that is made here, in the handbook's dress.
pub fn written(text: &str) -> String {
    let contents = source("SUMMARY").unwrap_or_default();
    whole(&title(text), &body(&contents, "/handbook/"), &body(text, ""))
}

fn whole(title: &str, contents: &str, body: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title} · Sentinel</title><link rel=\"stylesheet\" href=\"/handbook/style.css\"></head>\
         <body><nav aria-label=\"Contents\">{contents}</nav><main>{body}</main></body></html>"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every page that a page links to, as `(from, to)`.
    fn links(name: &str, text: &str) -> Vec<(String, String)> {
        let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
        Parser::new(text)
            .filter_map(|event| match event {
                Event::Start(Tag::Link { dest_url, .. }) => Some(dest_url.to_string()),
                _ => None,
            })
            .filter(|url| !url.contains("://") && !url.starts_with('#'))
            .map(|url| {
                let page = url.split('#').next().unwrap_or_default().to_owned();
                let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
                for part in page.split('/') {
                    match part {
                        ".." => drop(parts.pop()),
                        "." => {}
                        part => parts.push(part),
                    }
                }
                (name.to_owned(), parts.join("/"))
            })
            .collect()
    }

    #[test]
    fn every_link_leads_to_a_page_and_every_page_is_in_the_contents() {
        let pages: Vec<String> = Book::iter().map(|page| page.to_string()).collect();
        for page in &pages {
            let text = source(page.trim_end_matches(".md")).expect("listed");
            for (from, to) in links(page.trim_end_matches(".md"), &text) {
                assert!(pages.contains(&to), "{from} links to {to}");
            }
        }
        let contents = links("SUMMARY", &source("SUMMARY").expect("the contents"));
        for page in pages.iter().filter(|page| *page != "SUMMARY.md") {
            assert!(contents.iter().any(|(_, to)| to == page), "{page} is not in SUMMARY.md");
        }
    }

    #[test]
    fn links_between_pages_lead_to_html_and_others_stay() {
        let html = body("## Two words\n[a](x/b.md#c) [d](https://e.example) <b>f</b>", "");
        for part in [
            "<h2 id=\"two-words\">",
            "href=\"x/b.html#c\"",
            "href=\"https://e.example\"",
            "&lt;b&gt;",
        ] {
            assert!(html.contains(part), "{part} in {html}");
        }
    }
}
