// Ways to give the page an image: drop it anywhere, paste it, choose a file.

const part = (id) => document.getElementById(id);

/** take(file): for each image given. refuse(message): when something else was */
export function listen(take, refuse) {
  const first = ([file]) => (file ? take(file) : refuse("That was no file. Save the image first, or copy the image itself."));

  part("file").addEventListener("change", ({ target }) => {
    if (target.files.length > 0) take(target.files[0]);
    target.value = ""; // so that choosing the same file again is a change
  });

  document.addEventListener("paste", (event) => {
    if (event.target === part("token")) return;
    event.preventDefault();
    first(event.clipboardData.files);
  });

  // All of the page takes drops: an image that misses the field would otherwise replace the page.
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("dragging");
  });
  document.addEventListener("dragleave", ({ relatedTarget }) => {
    if (relatedTarget === null) document.body.classList.remove("dragging");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("dragging");
    first(event.dataTransfer.files);
  });
}
