//! `/logs/`: the machine's log files, as a folder that is listed and files that are read, by whom may get `nodes/log`.
//! A link that leads out of the folder is not followed.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{self, State};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use http::{Uri, header};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use tokio::io::AsyncReadExt;
use tokio_util::io::ReaderStream;

use super::Refusal;

/// Where a machine's logs are.
pub(super) const FOLDER: &str = "/var/log";

/// What a link to a name must not hold as it is.
const IN_LINKS: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'%').add(b'<').add(b'>').add(b'?').add(b'&').add(b':');

/// Serves a folder at `/logs/`.
pub(super) fn router(folder: &Path) -> Router {
    let folder: Arc<Path> = folder.into();
    Router::new()
        .route("/logs", get(top))
        .route("/logs/", get(top))
        .route("/logs/{*path}", get(below))
        .with_state(folder)
}

async fn top(State(folder): State<Arc<Path>>, uri: Uri) -> Result<Response, Refusal> {
    answer(folder, PathBuf::new(), &uri).await
}

async fn below(
    State(folder): State<Arc<Path>>,
    extract::Path(path): extract::Path<PathBuf>,
    uri: Uri,
) -> Result<Response, Refusal> {
    answer(folder, path, &uri).await
}

/// What a path is.
enum Found {
    File(std::fs::File, u64),
    /// The names in it, of folders with a slash.
    Folder(Vec<String>),
}

async fn answer(folder: Arc<Path>, path: PathBuf, uri: &Uri) -> Result<Response, Refusal> {
    let asked = path.display().to_string();
    let found = tokio::task::spawn_blocking(move || find(&folder, &path)).await.map_err(io::Error::other);
    match found.flatten().map_err(|error| refusal(&asked, &error))? {
        Found::File(file, length) => {
            // As long as it is now, though it may grow.
            let body = ReaderStream::new(tokio::fs::File::from_std(file).take(length));
            let kind =
                if is_packed(&asked) { "application/octet-stream" } else { "text/plain; charset=utf-8" };
            let headers =
                [(header::CONTENT_TYPE, kind.to_owned()), (header::CONTENT_LENGTH, length.to_string())];
            Ok((headers, Body::from_stream(body)).into_response())
        }
        // The links of a listing begin at its last slash.
        Found::Folder(_) if !uri.path().ends_with('/') => {
            let last = uri.path().rsplit('/').next().unwrap_or_default();
            Ok((http::StatusCode::MOVED_PERMANENTLY, [(header::LOCATION, format!("{last}/"))])
                .into_response())
        }
        Found::Folder(names) => Ok(Html(listing(&names)).into_response()),
    }
}

fn refusal(asked: &str, error: &io::Error) -> Refusal {
    let code = match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => http::StatusCode::NOT_FOUND,
        io::ErrorKind::PermissionDenied => http::StatusCode::FORBIDDEN,
        _ => http::StatusCode::INTERNAL_SERVER_ERROR,
    };
    Refusal(code, format!("logs/{asked}: {error}"))
}

fn find(folder: &Path, path: &Path) -> io::Result<Found> {
    let folder = folder.canonicalize()?;
    let at = folder.join(path).canonicalize()?;
    if !at.starts_with(&folder) {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "this leads out of the folder of logs"));
    }
    let kind = at.metadata()?;
    if kind.is_dir() {
        let mut names = std::fs::read_dir(&at)?
            .map(|entry| {
                let entry = entry?;
                let slash = if entry.path().is_dir() { "/" } else { "" };
                Ok(format!("{}{slash}", entry.file_name().to_string_lossy()))
            })
            .collect::<io::Result<Vec<_>>>()?;
        names.sort_unstable();
        return Ok(Found::Folder(names));
    }
    if !kind.is_file() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "this is neither a file nor a folder"));
    }
    Ok(Found::File(std::fs::File::open(&at)?, kind.len()))
}

fn is_packed(name: &str) -> bool {
    [".gz", ".xz", ".zst", ".bz2", ".journal"].iter().any(|end| name.ends_with(end))
}

fn listing(names: &[String]) -> String {
    let mut page = "<!doctype html>\n<pre>\n".to_owned();
    for name in names {
        let text = name.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let link = utf8_percent_encode(name, IN_LINKS);
        let _ = writeln!(page, "<a href=\"{link}\">{text}</a>");
    }
    page + "</pre>\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;
    use std::os::unix::fs::symlink;
    use tower::ServiceExt;

    async fn ask(folder: &Path, uri: &str) -> (u16, String, String) {
        let request = http::Request::get(uri).body(Body::empty()).unwrap();
        let answer = router(folder).oneshot(request).await.unwrap();
        let location = answer.headers().get("location").map(|value| value.to_str().unwrap().to_owned());
        let code = answer.status().as_u16();
        let text = answer.into_body().collect().await.unwrap().to_bytes();
        (code, location.unwrap_or_default(), String::from_utf8(text.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn folders_are_listed_and_files_are_read() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("log");
        std::fs::create_dir_all(folder.join("pods/a b")).unwrap();
        std::fs::write(folder.join("pods/a b/0.log"), "one\n").unwrap();
        std::fs::write(folder.join("x&<y"), "").unwrap();
        symlink("pods/a b/0.log", folder.join("link")).unwrap();
        let (code, _, page) = ask(&folder, "/logs/").await;
        assert_eq!(code, 200);
        let links: Vec<&str> = page.lines().filter(|line| line.starts_with("<a")).collect();
        let expected = [
            r#"<a href="link">link</a>"#,
            r#"<a href="pods/">pods/</a>"#,
            r#"<a href="x%26%3Cy">x&amp;&lt;y</a>"#,
        ];
        assert_eq!(links, expected);
        assert_eq!(ask(&folder, "/logs/pods/a%20b/0.log").await.2, "one\n");
        assert_eq!(ask(&folder, "/logs/link").await.2, "one\n");
        assert_eq!(ask(&folder, "/logs/pods/").await.2.matches("<a").count(), 1);
        assert_eq!(ask(&folder, "/logs").await, (301, "logs/".to_owned(), String::new()));
        assert_eq!(ask(&folder, "/logs/pods").await, (301, "pods/".to_owned(), String::new()));
    }

    #[tokio::test]
    async fn nothing_beside_the_folder_is_told() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("log");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(root.path().join("secret"), "s").unwrap();
        symlink("../secret", folder.join("out")).unwrap();
        let rows = [
            ("/logs/out", 403, "logs/out: this leads out of the folder of logs"),
            ("/logs/..%2Fsecret", 403, "logs/../secret: this leads out of the folder of logs"),
            ("/logs/%2Fetc%2Fpasswd", 403, "logs//etc/passwd: this leads out of the folder of logs"),
            ("/logs/absent", 404, "logs/absent: No such file or directory (os error 2)"),
        ];
        for (uri, code, text) in rows {
            assert_eq!(ask(&folder, uri).await, (code, String::new(), text.to_owned()), "{uri}");
        }
    }
}
