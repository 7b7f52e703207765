// java Client.java MODE URL PICTURE: sends the picture as a Java program would and prints the status.

import java.io.ByteArrayOutputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublisher;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Base64;
import java.util.UUID;

class Client {
    public static void main(String[] args) throws Exception {
        String mode = args[0];
        Path path = Path.of(args[2]);
        byte[] bytes = Files.readAllBytes(path);
        String boundary = "Boundary-" + UUID.randomUUID();
        String type = "application/octet-stream";
        BodyPublisher body = BodyPublishers.ofFile(path);
        if (mode.equals("form")) {
            type = "multipart/form-data; boundary=" + boundary;
            ByteArrayOutputStream form = new ByteArrayOutputStream();
            String head = "--" + boundary + "\r\nContent-Disposition: form-data; name=\"file\"\r\nContent-Type: image/png\r\n\r\n";
            form.write(head.getBytes());
            form.write(bytes);
            form.write(("\r\n--" + boundary + "--\r\n").getBytes());
            body = BodyPublishers.ofByteArray(form.toByteArray());
        } else if (mode.equals("json")) {
            type = "application/json";
            body = BodyPublishers.ofString("{\"image\": \"" + Base64.getMimeEncoder().encodeToString(bytes).replace("\r\n", "\\r\\n") + "\"}");
        }
        // "many" shows whether one connection serves all requests: each offers an upgrade to HTTP/2
        HttpClient client = HttpClient.newHttpClient();
        for (int count = mode.equals("many") ? 5 : 1; count > 0; count--) {
            HttpRequest request = HttpRequest.newBuilder(URI.create(args[1])).header("Content-Type", type).POST(body).build();
            System.out.println(client.send(request, BodyHandlers.ofString()).statusCode());
        }
    }
}
