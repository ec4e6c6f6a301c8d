/** Uploads that tell how far they are: `fetch` cannot, so this is the older way. */

import { ApiError } from "./api.js";

/** Upload a batch's input; `told(fraction)` hears how far it is. Answers the file as OpenAI's API describes it. */
export function upload(file, told, signal) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const fail = (message, code) => reject(new ApiError(message, code, 0));
    request.open("POST", "/v1/files");
    request.responseType = "json";
    request.upload.onprogress = (event) => told(event.loaded / event.total);
    request.onload = () => settle(request, resolve, reject);
    request.onerror = () => fail("The upload broke off. Choose the file again.", "unreachable");
    request.onabort = () => fail("The upload was stopped.", "aborted");
    signal.addEventListener("abort", () => request.abort());
    request.send(content(file));
  });
}

function content(file) {
  const form = new FormData();
  form.append("purpose", "batch");
  form.append("file", file, file.name);
  return form;
}

function settle(request, resolve, reject) {
  if (request.status === 200) {
    resolve(request.response);
    return;
  }
  const said = request.response?.error ?? {};
  reject(new ApiError(said.message ?? `The server answered ${request.status}.`, said.code ?? "unknown", request.status));
}
